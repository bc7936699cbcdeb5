"""A Precise Interactor that knows how near and how like each pixel is to the clicks, and stays near them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pisam.core.geometry import sample_at
from pisam.core.types import Clicks, ObjectFeatures
from pisam.modeling.layers import LayerNorm2d, conv3x3
from pisam.modeling.precise_interactor import FRAME_PER_FEATURE, PreciseInteractor, unit_points


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
    features = features.float()
    # F.normalize's norm over a strided axis takes eight times as long.
    unit = features * features.square().sum(dim=1, keepdim=True).clamp(min=1e-24).rsqrt()
    clicked = F.normalize(sample_at(unit, points), dim=2)
    return torch.einsum("bmc,bchw->bmhw", clicked, unit).clamp(min=0)


REACH = 3 / 32  # of the frame's side: how far from a click anything changes (standard deviation)
COARSE = (1 / 128, 1 / 32, 1 / 8)  # scales of the maps beside O, as shares of the frame's side
FINE = (1 / 256, 1 / 64)  # and of those beside the logits
LOGIT = 8.0  # logits enter the last convolutions divided by this, kept in [-1, 1]


class LocalInteractor(PreciseInteractor):
    """The paper's interactor with three additions.

    Pixels see `click_maps` from the start, for the Fourier code of positions cannot tell neighbours apart.
    What is added to O, to the logits below the head's, and to the final logits fades with the distance from
    the clicks. Two convolutions on the final logits see the clicks pixel by pixel, which O, a quarter as
    fine, cannot. All that is added starts at zero: untrained, it changes nothing.

    Args:
        dim: channels of the enhanced feature.
        depth: number of interactor blocks.
    """

    def __init__(self, dim: int = 32, depth: int = 2) -> None:
        super().__init__(dim, depth)
        self.from_maps = nn.Conv2d(4 * len(COARSE) + 1, dim, kernel_size=1)
        self.base_residual = conv3x3(dim, 1)
        self.touch = nn.Sequential(
            conv3x3(4 * len(FINE) + dim // 4 + 2, dim // 2),
            LayerNorm2d(dim // 2),
            nn.GELU(),
            conv3x3(dim // 2, 1),
        )
        for last in (self.base_residual, self.touch[-1]):
            for values in last.parameters():
                nn.init.zeros_(values)

    def changed(self, objects: ObjectFeatures, clicks: Clicks) -> tuple[Tensor, Tensor | None]:
        enhanced, base = objects.enhanced, objects.base
        side = enhanced.shape[-1]
        points = unit_points(enhanced, clicks)
        maps = click_maps(enhanced, points, clicks.labels, clicks.valid, COARSE)
        logits = torch.zeros_like(maps[:, :1]) if base is None else (base / LOGIT).clamp(-1, 1)
        seen = self.from_maps(torch.cat([maps, logits], dim=1))
        pixels = self.attend(objects, clicks, enhanced + seen)
        fade = reach(points, clicks.valid, side, REACH)
        changed = enhanced + fade * self.residual(pixels)
        return changed, None if base is None else base + fade * self.base_residual(pixels)

    def seen(self, colours: Tensor, clicks: Clicks, frame: int) -> tuple[Tensor, Tensor]:
        side = colours.shape[-1]
        points, frames = clicks.points / side, frame / side  # of the window: units and the size of a frame
        maps = click_maps(colours, points, clicks.labels, clicks.valid, [frames * spread for spread in FINE])
        fade = reach(points, clicks.valid, side // FRAME_PER_FEATURE, frames * REACH)
        fade = F.interpolate(fade, size=(side, side), mode="bilinear", align_corners=False)
        weight, bias = self.touch.get_parameter("0.weight"), self.touch.get_parameter("0.bias")
        return F.conv2d(torch.cat([maps, colours], dim=1), weight[:, :-2], bias, padding=1), fade

    def touched(self, logits: Tensor, seen: tuple[Tensor, Tensor] | None) -> Tensor:
        assert seen is not None
        of_others, fade = seen  # the first convolution's part of maps and colours
        shown = torch.cat([(logits / LOGIT).clamp(-1, 1), fade], dim=1)
        first = of_others + F.conv2d(shown, self.touch.get_parameter("0.weight")[:, -2:], padding=1)
        return logits + fade * LOGIT * self.touch[1:](first)
