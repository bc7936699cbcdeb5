"""Validation scores of stage 1."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from pisam.core.types import Batch
from pisam.metrics.image_scores import score_logits
from pisam.metrics.set_scores import SetScores
from pisam.training.callbacks.validation_scores import ValidationScores

SCORES = ("iou", "biou")


class SegmentationIoU(ValidationScores):
    """Logs `val/iou` and `val/biou` at original size, overall and per data set, as `pisam evaluate` scores.

    Args:
        set_names: all validation sets, the same on every rank.
    """

    def __init__(self, set_names: Sequence[str]) -> None:
        super().__init__(SetScores(set_names, SCORES))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,  # type: ignore[override]
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for index, mask in enumerate(batch.original_masks):
            self.add(batch, index, score_logits(outputs[index], mask, SCORES, batch.ignored_at(index)))
