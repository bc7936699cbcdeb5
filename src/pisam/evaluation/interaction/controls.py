"""Clicks made from clicks, for controls; and what is measured at and away from clicks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pisam.clicks.policies import disturb
from pisam.core.seeding import derive_seed
from pisam.core.types import BoolArray, Click
from pisam.metrics.functional import KnownMask, region_scores

NEAR = 10.0  # pixels of the original image
NOISE = 0.2  # share of the clicks that is spoilt


def exchanged(clicks: Sequence[Click]) -> list[Click]:
    """Exchange the labels; the places stay."""
    return [(x, y, 1 - label) for x, y, label in clicks]


def anywhere(clicks: Sequence[Click], size: Sequence[int], seed: int) -> list[Click]:
    """Move each click to any pixel of an image of `size` (H, W); number and labels stay."""
    height, width = size
    rng = np.random.default_rng(derive_seed(seed, "random positions"))
    places = (rng.integers((width, height), size=(len(clicks), 2)) + 0.5).tolist()
    return [(x, y, label) for (x, y), (*_, label) in zip(places, clicks, strict=True)]


def spoilt(clicks: Sequence[Click], size: tuple[int, int], seed: int, noise: float) -> list[Click]:
    """The clicks with a share `noise` spoilt, as policy `noisy` of `simulate_clicks` does it.

    Args:
        clicks: in pixels of the image.
        size: (H, W) of the image.
        seed: of which clicks are spoilt, and how.
        noise: half of this share moves anywhere in the image, half has its label changed.
    """
    rows = np.array(clicks, np.float64).reshape(-1, 3)
    pixels = np.floor(rows).astype(np.int64)
    rng = np.random.default_rng(derive_seed(seed, "noise"))
    disturbed = disturb(pixels, size, rng, noise)
    places = disturbed[:, :2] + (rows - pixels)[:, :2]
    return [(float(x), float(y), int(label)) for (x, y), label in zip(places, disturbed[:, 2], strict=True)]


def near_clicks(clicks: Iterable[Sequence[float]], size: Sequence[int], distance: float = NEAR) -> BoolArray:
    """bool (H, W): the pixels whose centre is within `distance` pixels of a click (x, y, ...)."""
    height, width = size
    xs, ys = np.arange(width) + 0.5, np.arange(height) + 0.5
    near = np.zeros((height, width), bool)
    reach = int(distance) + 2
    for x, y, *_ in clicks:
        column, row = int(x), int(y)
        across = slice(max(0, column - reach), max(0, column + reach))
        down = slice(max(0, row - reach), max(0, row + reach))
        near[down, across] |= (xs[across] - x) ** 2 + ((ys[down] - y) ** 2)[:, None] <= distance**2
    return near


def gain_away(before: BoolArray, after: BoolArray, mask: BoolArray, away: BoolArray) -> float:
    """Gain of IoU on the pixels of `away` alone; all four are bool (H, W)."""
    true = KnownMask(mask & away)
    new, old = (region_scores(each & away, true, boundary=False)["iou"] for each in (after, before))
    return new - old


def collateral(before: BoolArray, after: BoolArray, mask: BoolArray, away: BoolArray) -> float:
    """Share of the pixels of `away` that were right before and are wrong after; all four are bool (H, W)."""
    right = away & (before == mask)
    return np.count_nonzero(right & (after != mask)) / max(1, np.count_nonzero(right))
