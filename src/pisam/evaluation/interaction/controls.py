"""Clicks made from clicks, for controls; and what is measured at and away from clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pisam.clicks.policies import disturb
from pisam.core.geometry import pixels_to_unit
from pisam.core.seeding import derive_seed
from pisam.core.types import Clicks
from pisam.metrics.functional import iou

NEAR = 10.0  # pixels of the original image


def first_clicks(clicks: Clicks, number: int) -> Clicks:
    """The first `number` clicks of each sample, fewer where there are fewer."""
    return Clicks(clicks.points[:, :number], clicks.labels[:, :number], clicks.valid[:, :number])


def exchanged(clicks: Clicks) -> Clicks:
    """The same places with the labels exchanged."""
    return replace(clicks, labels=1 - clicks.labels)


def anywhere(clicks: Clicks, size: Sequence[int], seed: int) -> Clicks:
    """As many clicks with the same labels, each on any pixel of the image.

    Args:
        clicks: in pixels of the image.
        size: (H, W) of the image.
        seed: of the places.
    """
    height, width = size
    rng = np.random.default_rng(derive_seed(seed, "random positions"))
    pixels = rng.integers((width, height), size=tuple(clicks.points.shape))
    return replace(clicks, points=torch.from_numpy(pixels + 0.5).to(clicks.points))


def spoilt(clicks: Clicks, size: Sequence[int], seed: int, noise: float) -> Clicks:
    """The clicks of one image with a share `noise` spoilt, as policy `noisy` of `simulate_clicks` does it.

    Args:
        clicks: of one sample, all valid, in pixels of the image.
        size: (H, W) of the image.
        seed: of which clicks are spoilt, and how.
        noise: half of this share moves anywhere in the image, half has its label changed.
    """
    height, width = size
    pixels = clicks.points[0].floor().long()
    rows = torch.cat([pixels, clicks.labels[0, :, None]], dim=1).cpu().numpy()
    rng = np.random.default_rng(derive_seed(seed, "noise"))
    disturbed = torch.from_numpy(disturb(rows, (height, width), rng, noise)).to(pixels)
    within_pixel = clicks.points[0] - pixels
    return replace(clicks, points=(disturbed[:, :2] + within_pixel)[None], labels=disturbed[None, :, 2])


def to_frame(clicks: Clicks, size: Sequence[int], side: int) -> Clicks:
    """Clicks in pixels of an image of `size` (H, W), in pixels of the square frame it was squashed into."""
    return replace(clicks, points=pixels_to_unit(clicks.points, size[0], size[1]) * side)


def near_clicks(points: Tensor, size: Sequence[int], distance: float = NEAR) -> Tensor:
    """bool (H, W): the pixels whose centre is within `distance` of one of the points.

    Args:
        points: (N, 2), (x, y) in pixels of the H x W image, N may be 0.
        size: (H, W).
        distance: in pixels.
    """
    height, width = size
    xs = torch.arange(width, device=points.device) + 0.5
    ys = torch.arange(height, device=points.device) + 0.5
    near = torch.zeros(height, width, dtype=torch.bool, device=points.device)
    reach = int(distance) + 2
    for x, y in points:
        column, row = int(x), int(y)
        across = slice(max(0, column - reach), max(0, column + reach))
        down = slice(max(0, row - reach), max(0, row + reach))
        near[down, across] |= (xs[across] - x) ** 2 + ((ys[down] - y) ** 2)[:, None] <= distance**2
    return near


def gain_away(before: Tensor, after: Tensor, mask: Tensor, away: Tensor) -> float:
    """What IoU gained on the pixels of `away` alone; all four are bool (H, W)."""
    return float(iou(after & away, mask & away) - iou(before & away, mask & away))


def collateral(before: Tensor, after: Tensor, mask: Tensor, away: Tensor) -> float:
    """Share of the pixels of `away` that were right before and are wrong after; all four are bool (H, W)."""
    right = away & (before == mask)
    return int((right & (after != mask)).sum()) / max(1, int(right.sum()))


def share_obeyed(prediction: Tensor, clicks: Clicks) -> float:
    """Share of the clicks of one sample whose pixel is what their label says; NaN without clicks.

    Args:
        prediction: bool (H, W).
        clicks: in pixels of the prediction.
    """
    valid = clicks.valid[0]
    x, y = clicks.points[0][valid].long().unbind(dim=1)
    return float((prediction[y, x] == clicks.labels[0][valid].bool()).float().mean())
