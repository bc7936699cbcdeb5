"""Validation scores of stage 1."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from pisam.callbacks.validation_scores import ValidationScores
from pisam.metrics.protocol import logits_to_original
from pisam.metrics.segmentation import SegmentationScores
from pisam.types import Batch


class SegmentationIoU(ValidationScores):
    """Logs `val/iou` and `val/biou`, overall and per data set, at original size.

    Args:
        set_names: all validation sets, the same on every rank.
    """

    def __init__(self, set_names: Sequence[str]) -> None:
        super().__init__(SegmentationScores(set_names))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,  # type: ignore[override]
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for logits, mask, name in zip(outputs, batch.original_masks, batch.sets, strict=True):
            self.scores.update(logits_to_original(logits[None], mask.shape), mask, name)
