"""No stage ends without a validation of its last weights."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer


class FinalValidation(Callback):
    """Validates the last epoch whatever `val_every` is, and a run of `max_steps` after its last step.

    Lightning counts batches, and the last step of an epoch may accumulate fewer of them than the others.

    Args:
        steps: `max_steps`, -1 where epochs are counted.
    """

    def __init__(self, steps: int = -1) -> None:
        self.steps = steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.steps > 0:
            batches, accumulate = int(trainer.num_training_batches), trainer.accumulate_grad_batches
            epochs, rest = divmod(self.steps, -(-batches // accumulate))
            trainer.val_check_batch = epochs * batches + rest * accumulate
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.check_val_every_n_epoch and trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1
