"""Validation scores of stage 2: before the clicks, after them, and the gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from pisam.clicks.oracle import locally_repaired
from pisam.core.types import Batch
from pisam.metrics.functional import binarise
from pisam.metrics.interaction import InteractionScores
from pisam.metrics.protocol import logits_to_original
from pisam.training.callbacks.validation_scores import ValidationScores


class InteractionIoU(ValidationScores):
    """Logs `val/iou_before`, `_after`, `_gain`, the same of `biou`, `improved`, `oracle` and `oracle_share`.

    Each also per data set.

    Args:
        set_names: all validation sets, the same on every rank.
    """

    def __init__(self, set_names: Sequence[str]) -> None:
        super().__init__(InteractionScores(set_names))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,  # type: ignore[override]
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert batch.straight_forward is not None
        for index, mask in enumerate(batch.original_masks):
            both = batch.straight_forward.high_res[index], outputs[index]
            ignored = batch.ignored_at(index)
            before, after = (logits_to_original(logits[None], mask.shape, ignored) for logits in both)
            self.add(batch, index, before, after, mask, repaired=_repaired(before, mask, batch, index))


def _repaired(before: Tensor, mask: Tensor, batch: Batch, index: int) -> Tensor:
    """bool (H, W): the clicked components of the error repaired, at original size."""
    assert batch.clicks is not None
    height, width = mask.shape
    scale = batch.clicks.points.new_tensor([width, height]) / batch.mask.shape[-1]
    clicks = replace(batch.clicks, points=batch.clicks.points * scale).rows(index)
    repaired = locally_repaired(binarise(before).cpu().numpy(), mask.cpu().numpy(), clicks)
    return torch.from_numpy(repaired).to(mask.device)
