"""The end of a stage: when nothing gets better, and never without a validation of the last weights."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping


class EarlyStop(EarlyStopping):
    """Lightning's, also for a run that was killed between its decision and its end: resumed, it ends at once.

    Args:
        monitor: the score, the larger the better.
        patience: validations in a row without a better score.
    """

    def __init__(self, *, monitor: str, patience: int) -> None:
        super().__init__(
            monitor, patience=patience, mode="max", check_finite=False, check_on_train_epoch_end=False
        )

    @property
    def decided(self) -> bool:
        """True where the stage is complete by this rule."""
        return self.wait_count >= self.patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop |= self.decided


def stopped_early(trainer: Trainer) -> bool:
    """True where an `EarlyStop` of the trainer has decided that its stage is complete."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return any(callback.decided for callback in callbacks if isinstance(callback, EarlyStop))


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
