"""Logged scores equal those computed by hand, at original size, per set and over sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule
from torch import Tensor

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.core.types import Batch
from pisam.metrics.functional import boundary_iou
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.scores import InteractionIoU, SegmentationIoU
from pisam.training.stages.decoder_stage import DecoderStage
from pisam.training.stages.interactor_stage import InteractorStage
from pisam.training.stages.stage import Stage

SIZES = {"thin": [(50, 90), (64, 64), (100, 41)], "wide": [(33, 70)]}


def validation_batches() -> list[Batch]:
    """Single images of two sets, with original masks of other sizes than the frame."""
    batches = []
    for name, sizes in SIZES.items():
        for size in sizes:
            batch = small_batch(1, seed=len(batches))
            original = F.interpolate(batch.mask.float(), size=size)[0, 0] > 0
            batch.sets, batch.ids, batch.original_masks = [name], [f"{size}"], [original]
            batches.append(batch)
    return batches


class Keep(Callback):
    """Everything that was validated."""

    def __init__(self) -> None:
        self.rows: list[tuple[Batch, Tensor]] = []

    def on_validation_batch_end(
        self, trainer: Any, pl_module: LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        self.rows.append((batch, outputs.clone()))


def by_hand(logits: Tensor, mask: Tensor) -> tuple[float, float]:
    """IoU and boundary IoU of one image."""
    resized = F.interpolate(logits.float(), size=tuple(mask.shape), mode="bilinear", align_corners=False)
    predicted = (resized[0, 0] > 0).numpy()
    truth = mask.numpy()
    return (predicted & truth).sum() / (predicted | truth).sum(), float(
        boundary_iou(torch.tensor(predicted), mask)
    )


def test_stage_1_scores() -> None:
    keep = Keep()
    trainer = quiet_trainer(keep, SegmentationIoU(list(SIZES)))
    trainer.validate(DecoderStage(small_model()), loader(*validation_batches()), verbose=False)
    scores = {n: float(v) for n, v in trainer.callback_metrics.items()}
    means, every = {}, []
    for name in SIZES:
        own = [
            by_hand(logits, batch.original_masks[0]) for batch, logits in keep.rows if batch.sets[0] == name
        ]
        assert len(own) == len(SIZES[name])
        means[name] = np.mean(own, axis=0)
        every += own
    means["pooled"] = np.mean(every, axis=0)
    expected = {
        f"val/{name}/{score}": means[name][i] for name in means for i, score in enumerate(("iou", "biou"))
    }
    expected |= {f"val/{s}": (means["thin"][i] + means["wide"][i]) / 2 for i, s in enumerate(("iou", "biou"))}
    assert scores == pytest.approx(expected, abs=1e-6)


def test_stage_2_scores() -> None:
    keep = Keep()
    stage = InteractorStage(small_model())
    torch.nn.init.normal_(stage.model.interactor.residual.weight, std=0.3)
    trainer = quiet_trainer(ClickSimulation(min_area=2), keep, InteractionIoU(list(SIZES)))
    trainer.validate(stage, loader(*validation_batches()), verbose=False)
    scores = {n: float(v) for n, v in trainer.callback_metrics.items()}
    expected, overall, every = {}, [], []
    for name in SIZES:
        rows = []
        for batch, after in keep.rows:
            if batch.sets[0] == name:
                assert batch.straight_forward is not None
                old = by_hand(batch.straight_forward.high_res, batch.original_masks[0])
                new = by_hand(after, batch.original_masks[0])
                assert old != new
                rows.append([*old, *new, new[0] - old[0], new[1] - old[1], new[0] > old[0]])
        mean = np.mean(rows, axis=0)
        overall.append(mean)
        every += rows
        expected |= {f"val/{name}/{key}": value for key, value in zip(KEYS, mean, strict=True)}
    expected |= {f"val/{key}": value for key, value in zip(KEYS, np.mean(overall, axis=0), strict=True)}
    pooled = np.mean(every, axis=0)
    expected |= {f"val/pooled/{key}": value for key, value in zip(KEYS, pooled, strict=True)}
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    share = scores["val/pooled/iou_gain"] / scores["val/pooled/oracle"]
    assert scores["val/pooled/oracle_share"] == pytest.approx(share, rel=1e-4)
    assert 0 < scores["val/pooled/oracle"] <= 1 - scores["val/pooled/iou_before"]


KEYS = ["iou_before", "biou_before", "iou_after", "biou_after", "iou_gain", "biou_gain", "improved"]


def test_each_validation_starts_from_nothing() -> None:
    trainer = quiet_trainer(SegmentationIoU(list(SIZES)))
    stage = DecoderStage(small_model())
    first = trainer.validate(stage, loader(*validation_batches()), verbose=False)
    second = trainer.validate(stage, loader(*validation_batches()), verbose=False)
    assert first == second


@pytest.mark.parametrize("stage_class", [DecoderStage, InteractorStage])
def test_what_is_ignored_counts_for_no_score(stage_class: type[Stage]) -> None:
    """With the predicted object as the truth but for one part, which is ignored, everything is right."""
    keep, stage = Keep(), stage_class(small_model())
    stage_1 = stage_class is DecoderStage
    clicks = [] if stage_1 else [ClickSimulation(min_area=2)]
    quiet_trainer(*clicks, keep).validate(stage, loader(*validation_batches()), verbose=False)
    batches = []
    for batch, logits in keep.rows:
        size = batch.original_masks[0].shape
        predicted = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)[0, 0] > 0
        ignored = torch.arange(size[1]).expand(size) < size[1] // 2
        assert (predicted & ignored).any()
        batch.original_masks, batch.original_ignored = [predicted & ~ignored], [ignored]
        batches.append(batch)
    scores = (SegmentationIoU if stage_1 else InteractionIoU)(list(SIZES))
    trainer = quiet_trainer(*clicks, scores)
    trainer.validate(stage, loader(*batches), verbose=False)
    after = "" if stage_1 else "_after"
    assert trainer.callback_metrics[f"val/iou{after}"] == trainer.callback_metrics[f"val/biou{after}"] == 1
