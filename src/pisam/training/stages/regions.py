"""Targets altered by coherent regions of the picture itself: a click turns the region under it, nothing else.

A region is what a watershed gives around one of many random seeds: its edges are the picture's. It is made
to be wrong as a whole, whatever the labels say of it, so the click alone tells.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from pisam.core.seeding import derive_seed
from pisam.core.types import Batch, Clicks
from pisam.data.reading.reader import BoolArray, UInt8Array

SEEDS = (40, 600)  # of a watershed: at most and at least a few dozen pixels across at S = 512


def alter_targets(batch: Batch, predicted: Tensor, taken: Clicks, share: float) -> tuple[Tensor, Tensor]:
    """Masks with a region turned over against the prediction in some samples.

    Args:
        batch: of training.
        predicted: bool (B, 1, S, S), the mask to be clicked.
        taken: clicks made before; a region with one of them stays as it is.
        share: of the samples that are altered, each with this probability.

    Returns:
        the masks, and the regions that were turned, both bool (B, 1, S, S).
    """
    masks, regions = batch.mask.clone(), torch.zeros_like(batch.mask)
    shown = batch.counted()
    for row, seed in enumerate(batch.seeds):
        rng = np.random.default_rng(derive_seed(seed, "region"))
        if rng.random() >= share:
            continue
        width, height = (int(side) for side in batch.extent[row].tolist())
        image = batch.image[row, :, :height, :width].permute(1, 2, 0).contiguous().cpu().numpy()
        place = _near(batch.box[row].tolist(), (width, height), rng)
        region = torch.zeros_like(masks[row, 0])
        found = torch.from_numpy(region_at(image, place, rng))
        region[:height, :width] = found.to(region.device)
        region &= shown[row, 0]
        x, y = taken.points[row][taken.valid[row]].long().clamp(0, len(region) - 1).unbind(dim=1)
        if not region.any() or region[y, x].any():
            continue
        masks[row, 0][region] = ~(predicted[row, 0][region].float().mean() > 0.5)
        regions[row, 0] = region & (masks[row, 0] != predicted[row, 0])
    return masks, regions


def region_at(image: UInt8Array, place: Sequence[int], rng: np.random.Generator) -> BoolArray:
    """The region (H, W) of a random watershed of an image (H, W, 3) that holds a place (x, y)."""
    height, width = image.shape[:2]
    x, y = place
    markers = np.zeros((height, width), np.int32)
    count = int(rng.integers(*SEEDS, endpoint=True))
    markers[rng.integers(height, size=count), rng.integers(width, size=count)] = np.arange(2, count + 2)
    markers[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 1
    labels = cv2.watershed(cv2.GaussianBlur(image, (0, 0), 1.5), markers)
    grown = cv2.dilate((labels == 1).astype(np.uint8), np.ones((3, 3), np.uint8))  # watersheds are no region
    return np.asarray(grown > 0)


def _near(box: Sequence[float], extent: tuple[int, int], rng: np.random.Generator) -> list[int]:
    """A pixel in a box or around it, by a tenth of its sides, within the content."""
    x0, y0, x1, y1 = box
    margins = (x1 - x0) / 10, (y1 - y0) / 10
    point = rng.uniform([x0 - margins[0], y0 - margins[1]], [x1 + margins[0], y1 + margins[1]])
    return [int(np.clip(value, 0, side - 1)) for value, side in zip(point, extent, strict=True)]
