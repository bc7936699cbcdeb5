"""Maps of the reach of clicks: how near each pixel is to a click, and how like what was clicked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pisam.core.geometry import sample_at


def click_maps(
    features: Tensor, points: Tensor, labels: Tensor, valid: Tensor, spreads: Sequence[float]
) -> Tensor:
    """Nearness to the nearest click of each label at several scales, plain and times likeness to it.

    Args:
        features: float (B, C, H, W) in which likeness is told, square.
        points: float (B, M, 2), (x, y) unit coordinates.
        labels: int64 (B, M).
        valid: bool (B, M); padded clicks are nowhere near.
        spreads: standard deviations of nearness, as shares of the frame's side.

    Returns:
        float (B, 4 len(spreads), H, W) in [0, 1], 0 without a click. No gradient.
    """
    batch, _, height, width = features.shape
    if points.shape[1] == 0:
        return features.new_zeros(batch, 4 * len(spreads), height, width)
    with torch.no_grad():
        like = _likeness(features, points)
        maps = []
        for label in (0, 1):
            square, nearest = _to_nearest(points, valid & (labels == label), height, width)
            alike = like.gather(1, nearest.unsqueeze(1))[:, 0]
            for spread in spreads:
                near = torch.exp(-square / (2 * spread**2))
                maps += [near, near * alike]
        return torch.stack(maps, dim=1)


@torch.no_grad()
def reach(points: Tensor, valid: Tensor, side: int, spread: float) -> Tensor:
    """Nearness (B, 1, side, side) to any click, in [0, 1]; arguments as in `click_maps`."""
    if points.shape[1] == 0:
        return points.new_zeros(len(points), 1, side, side)
    square, _ = _to_nearest(points, valid, side, side)
    return torch.exp(-square / (2 * spread**2)).unsqueeze(1)


def _to_nearest(points: Tensor, valid: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Squared distance (B, H, W) to the nearest valid click, infinite without one, and which it is."""
    square_x, square_y = _squares(points[..., 0], width), _squares(points[..., 1], height)
    square_y = square_y.masked_fill(~valid[..., None], math.inf)
    square, nearest = (square_y[..., None] + square_x[..., None, :]).min(dim=1)
    return square, nearest


def _squares(along: Tensor, side: int) -> Tensor:
    """Squared distance (B, M, side) of pixel centres from coordinates (B, M), in frames."""
    centres = (torch.arange(side, device=along.device, dtype=along.dtype) + 0.5) / side
    return (centres - along[..., None]) ** 2


def _likeness(features: Tensor, points: Tensor) -> Tensor:
    """Cosine likeness (B, M, H, W) of each pixel's features to those at the points, negative ones as 0."""
    unit = F.normalize(features.float(), dim=1)
    clicked = F.normalize(sample_at(unit, points), dim=2)
    return torch.einsum("bmc,bchw->bmhw", clicked, unit).clamp(min=0)
