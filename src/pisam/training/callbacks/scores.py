"""Validation scores of both stages: before the clicks, after them, the gain, and a table of every image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from pisam.clicks.components import locally_repaired
from pisam.core.errors import PisamError
from pisam.core.score_names import SEGMENTATION
from pisam.core.types import Batch
from pisam.metrics.functional import binarise
from pisam.metrics.image_scores import score_logits
from pisam.metrics.protocol import logits_to_original
from pisam.metrics.set_scores import InteractionScores, PerSetMean, SetScores
from pisam.training.logging.loggers import X_AXIS, last_step, tell_wandb
from pisam.training.resume.ranks import from_every_rank


class ValidationScores(Callback, ABC):
    """Logs `val/...`, overall and per data set; a subclass scores each image and calls `add`.

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

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        for index, logits in enumerate(outputs):
            self.score(batch, index, logits)

    @abstractmethod
    def score(self, batch: Batch, index: int, logits: Tensor) -> None:
        """Add one image of a batch, whose answer at the frame's size is `logits` (1, S, S)."""

    def add(self, batch: Batch, index: int, *values: Any, **more: Any) -> None:
        """Add one image of a batch; the metric is updated with `values`, the name of its set, and `more`."""
        self.scores.update(*values, batch.sets[index], **more)
        name = {"set": batch.sets[index], "image": batch.ids[index]}
        self.rows.append({**name, **self.scores.newest})

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log_dict({f"val/{name}": value for name, value in self.scores.compute().items()})


class SegmentationIoU(ValidationScores):
    """Logs `val/iou`, `val/biou` at original size, overall and per set, as `pisam evaluate` scores."""

    def __init__(self, set_names: Sequence[str]) -> None:
        super().__init__(SetScores(set_names, SEGMENTATION))

    def score(self, batch: Batch, index: int, logits: Tensor) -> None:
        mask, ignored = batch.original_masks[index], batch.ignored_at(index)
        self.add(batch, index, score_logits(logits, mask, SEGMENTATION, ignored))


class InteractionIoU(ValidationScores):
    """Logs `val/iou_before`, `_after`, `_gain`, the same of `biou`, `improved`, `oracle`, `oracle_share`.

    Each also per data set; the sets are the same on every rank.
    """

    def __init__(self, set_names: Sequence[str]) -> None:
        super().__init__(InteractionScores(set_names))

    def score(self, batch: Batch, index: int, logits: Tensor) -> None:
        if batch.straight_forward is None:
            raise PisamError(
                "InteractionIoU: no mask before clicks; give a trainer of stage 2 ClickSimulation, too"
            )
        mask, ignored = batch.original_masks[index], batch.ignored_at(index)
        both = batch.straight_forward.high_res[index], logits
        before, after = (logits_to_original(each[None], mask.shape, ignored) for each in both)
        self.add(batch, index, before, after, mask, repaired=_repaired(before, mask, batch, index))


def _repaired(before: Tensor, mask: Tensor, batch: Batch, index: int) -> Tensor:
    """bool (H, W): the clicked components of the error repaired, at original size."""
    assert batch.clicks is not None
    height, width = mask.shape
    scale = batch.clicks.points.new_tensor([width, height]) / batch.mask.shape[-1]
    clicks = replace(batch.clicks, points=batch.clicks.points * scale).rows(index)
    repaired = locally_repaired(binarise(before).cpu().numpy(), mask.cpu().numpy(), clicks)
    return torch.from_numpy(repaired).to(mask.device)


BINS = 32


class ImageScores(Callback):
    """Logs after each validation the table `val/images` and a histogram of one score over all images.

    Args:
        scores: the callback that scores the images; it must come before this one.
        spread: the score of the histogram, `val/SCORE_histogram`.
    """

    def __init__(self, scores: ValidationScores, *, spread: str) -> None:
        self.scores = scores
        self.spread = spread

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        order = self.scores.scores.set_names
        rows = [row for rank in from_every_rank(trainer, self.scores.rows) for row in rank]
        rows.sort(key=lambda row: (order.index(row["set"]), row["image"]))
        tell_wandb(trainer, lambda run: self._log(run, rows, last_step(trainer)))

    def _log(self, run: Any, rows: list[dict[str, Any]], step: int) -> None:
        import wandb

        table = wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
        histogram = wandb.Histogram([row[self.spread] for row in rows], num_bins=BINS)
        run.log({"val/images": table, f"val/{self.spread}_histogram": histogram, X_AXIS: step})
