"""The base of both stages' validation scores: reset before, logged after."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pisam.core.types import Batch
from pisam.metrics.segmentation import PerSetMean


class ValidationScores(Callback):
    """Logs `val/...`, overall and per data set; a subclass adds the images of each batch.

    Args:
        scores: the metric, over all validation sets, the same on every rank.

    Attributes:
        rows: of each image that this rank has validated: set, image, and its scores.
    """

    def __init__(self, scores: PerSetMean) -> None:
        self.scores = scores
        self.rows: list[dict[str, Any]] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.scores.to(pl_module.device).reset()
        self.rows.clear()

    def add(self, batch: Batch, index: int, *values: Any, **more: Any) -> None:
        """Add one image of a batch; the metric is updated with `values`, the name of its set, and `more`."""
        self.scores.update(*values, batch.sets[index], **more)
        name = {"set": batch.sets[index], "image": batch.ids[index]}
        self.rows.append({**name, **self.scores.newest})

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log_dict({f"val/{name}": value for name, value in self.scores.compute().items()})
