"""Straight-forward masks scored image by image, with the code that scores them in training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from pisam.evaluation.rows import Row, column_mean, rows_by_set, text_table
from pisam.metrics.protocol import logits_to_original
from pisam.metrics.segmentation import segmentation_scores
from pisam.modeling.pisam import PiSam
from pisam.types import Batch

SCORES = ("iou", "biou")


@torch.inference_mode()
def evaluate_masks(model: PiSam, batches: Iterable[Batch]) -> list[Row]:
    """IoU and boundary IoU of each image before any click.

    Args:
        model: in evaluation mode.
        batches: of validation samples with their original masks, on the model's device.

    Returns:
        rows `set`, `image`, `iou`, `biou`, in the order of the samples.
    """
    rows: list[Row] = []
    for batch in batches:
        _, prediction = model.straight_forward(batch.image, batch.box)
        samples = zip(prediction.high_res, batch.original_masks, batch.sets, batch.ids, strict=True)
        for logits, mask, set_name, image in samples:
            height, width = mask.shape
            scores = segmentation_scores(logits_to_original(logits[None], (height, width)), mask)
            rows.append({"set": set_name, "image": image} | {name: float(scores[name]) for name in SCORES})
    return rows


def summarise_masks(rows: Iterable[Row]) -> dict[str, Any]:
    """Means per set under `sets`, and over sets the mean of those means."""
    sets = {
        name: {"images": len(group)} | {score: column_mean(group, score) for score in SCORES}
        for name, group in rows_by_set(rows).items()
    }
    overall = {score: column_mean(sets.values(), score) for score in SCORES}
    return {"images": sum(means["images"] for means in sets.values()), **overall, "sets": sets}


def masks_table(summary: dict[str, Any]) -> str:
    """A line per set and one for the mean over sets, of what `summarise_masks` gave."""
    lines = {**summary["sets"], "mean over sets": summary}
    return text_table(
        [
            ["set", "images", "IoU", "boundary IoU"],
            *([name, means["images"], *(means[score] for score in SCORES)] for name, means in lines.items()),
        ]
    )
