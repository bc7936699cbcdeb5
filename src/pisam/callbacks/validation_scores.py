"""What the validation scores of both stages share: reset before, logged after."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from pisam.metrics.segmentation import PerSetMean


class ValidationScores(Callback):
    """Logs `val/...`, overall and per data set; a subclass adds the images of each batch.

    Args:
        scores: the metric, over all validation sets, the same on every rank.
    """

    def __init__(self, scores: PerSetMean) -> None:
        self.scores = scores

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.scores.to(pl_module.device).reset()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log_dict({f"val/{name}": value for name, value in self.scores.compute().items()})
