"""The one validation of a run that is measured in steps."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer


class FinalValidation(Callback):
    """Has a run of `max_steps` validated after its last step, in whichever epoch that is.

    Lightning counts batches, and the last step of an epoch may accumulate fewer of them than the others.

    Args:
        steps: `max_steps`.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches, accumulate = int(trainer.num_training_batches), trainer.accumulate_grad_batches
        epochs, rest = divmod(self.steps, -(-batches // accumulate))
        trainer.val_check_batch = epochs * batches + rest * accumulate
