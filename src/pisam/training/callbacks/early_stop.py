"""The end of a stage that no longer gets better."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
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
