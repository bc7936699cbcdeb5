"""`best.ckpt`: Lightning's own, made safe for several ranks and for runs that move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from pisam.training.resume.checkpoint_io import VerifiedCheckpointIO


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint of the best validation.

    Where rank 0 cannot write, all ranks raise. A run whose folder was moved remembers its best score.

    Args:
        folder: where `best.ckpt` is kept.
        monitor: the score whose largest value is the best.
    """

    def __init__(self, folder: Path, *, monitor: str) -> None:
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor=monitor,
            mode="max",
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with _checkpoint_io(trainer).agreeing(trainer):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with _checkpoint_io(trainer).agreeing(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before, now = str(state_dict["dirpath"]), str(self.dirpath)
        moved = {
            name: value.replace(before, now, 1) if isinstance(value, str) else value
            for name, value in state_dict.items()
        }
        scores = state_dict["best_k_models"].items()
        moved["best_k_models"] = {path.replace(before, now, 1): score for path, score in scores}
        super().load_state_dict(moved)


def _checkpoint_io(trainer: Trainer) -> VerifiedCheckpointIO:
    checkpoint_io = trainer.strategy.checkpoint_io
    assert isinstance(checkpoint_io, VerifiedCheckpointIO)
    return checkpoint_io
