"""A Precise Interactor that knows how near and how like each pixel is to the clicks, and stays near them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pisam.core.geometry import sample_at
from pisam.core.types import Clicks, ObjectFeatures
from pisam.modeling.bands import in_bands
from pisam.modeling.layers import LayerNorm2d, conv3x3
from pisam.modeling.precise_interactor import FRAME_PER_FEATURE, PreciseInteractor, unit_points


class ClickMaps:
    """Nearness to the nearest click of each label at several scales, plain and times likeness to it.

    Args:
        features: float (B, C, H, W) in which likeness is told, square.
        points: float (B, M, 2), (x, y) unit coordinates.
        labels: int64 (B, M).
        valid: bool (B, M); padded clicks are nowhere near.
        spreads: standard deviations of nearness, as shares of the frame's side.
    """

    @torch.no_grad()
    def __init__(
        self, features: Tensor, points: Tensor, labels: Tensor, valid: Tensor, spreads: Sequence[float]
    ) -> None:
        self.points, self.labels, self.valid, self.spreads = points, labels, valid, spreads
        self.unit = in_bands(_unit_length, features, margin=0)
        self.clicked = F.normalize(sample_at(self.unit, points), dim=2)
        self.down = _centres(self.unit.shape[-2], points)[None, None]

    def whole(self) -> Tensor:
        """Maps float (B, 4 len(spreads), H, W) in [0, 1], 0 without a click. No gradient."""
        return self.band(self.unit, self.down)

    @torch.no_grad()
    def band(self, unit: Tensor, down: Tensor) -> Tensor:
        """The maps of some rows: of `unit` and of `down`, where these are."""
        if self.points.shape[1] == 0:
            return unit.new_zeros(len(unit), 4 * len(self.spreads), *unit.shape[-2:])
        like = torch.einsum("bmc,bchw->bmhw", self.clicked, unit).clamp(min=0)
        maps = []
        for label in (0, 1):
            valid = self.valid & (self.labels == label)
            square, nearest = _to_nearest(self.points, valid, down[0, 0], unit.shape[-1])
            alike = like.gather(1, nearest.unsqueeze(1))[:, 0]
            for spread in self.spreads:
                near = torch.exp(-square / (2 * spread**2))
                maps += [near, near * alike]
        return torch.stack(maps, dim=1)


@torch.no_grad()
def reach(points: Tensor, valid: Tensor, side: int, spread: float) -> Tensor:
    """Nearness (B, 1, side, side) to any click, in [0, 1]; arguments as in `ClickMaps`."""
    if points.shape[1] == 0:
        return points.new_zeros(len(points), 1, side, side)
    square, _ = _to_nearest(points, valid, _centres(side, points), side)
    return torch.exp(-square / (2 * spread**2)).unsqueeze(1)


def _to_nearest(points: Tensor, valid: Tensor, down: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Squared distance (B, H, W) to the nearest valid click, infinite without one, and which it is.

    Rows are where `down` says, float (H, 1) in frames.
    """
    square_x = (_centres(width, points)[:, 0] - points[..., :1]) ** 2
    square_y = (down[:, 0] - points[..., 1:]) ** 2
    square_y = square_y.masked_fill(~valid[..., None], math.inf)
    square, nearest = (square_y[..., None] + square_x[..., None, :]).min(dim=1)
    return square, nearest


def _centres(side: int, like: Tensor) -> Tensor:
    """Where pixels' centres are, float (side, 1) in frames."""
    return ((torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) / side).unsqueeze(1)


def _unit_length(features: Tensor) -> Tensor:
    features = features.float()
    # F.normalize's norm over a strided axis takes eight times as long.
    return features * features.square().sum(dim=1, keepdim=True).clamp(min=1e-24).rsqrt()


REACH = 3 / 32  # of the frame's side: how far from a click anything changes (standard deviation)
COARSE = (1 / 128, 1 / 32, 1 / 8)  # scales of the maps beside O, as shares of the frame's side
FINE = (1 / 256, 1 / 64)  # and of those beside the logits
LOGIT = 8.0  # logits enter the last convolutions divided by this, kept in [-1, 1]


class LocalInteractor(PreciseInteractor):
    """The paper's interactor with three additions.

    Pixels see `ClickMaps` from the start, for the Fourier code of positions cannot tell neighbours apart.
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
        maps = ClickMaps(enhanced, points, clicks.labels, clicks.valid, COARSE).whole()
        logits = torch.zeros_like(maps[:, :1]) if base is None else (base / LOGIT).clamp(-1, 1)
        seen = self.from_maps(torch.cat([maps, logits], dim=1))
        pixels = self.attend(objects, clicks, enhanced + seen)
        fade = reach(points, clicks.valid, side, REACH)
        changed = enhanced + fade * self.residual(pixels)
        return changed, None if base is None else base + fade * self.base_residual(pixels)

    def seen(self, colours: Tensor, clicks: Clicks, frame: int) -> tuple[Tensor, Tensor]:
        side = colours.shape[-1]
        points, frames = clicks.points / side, frame / side  # of the window: units and the size of a frame
        spreads = [frames * spread for spread in FINE]
        maps = ClickMaps(colours, points, clicks.labels, clicks.valid, spreads)
        weight, bias = self.touch.get_parameter("0.weight"), self.touch.get_parameter("0.bias")

        def first(colours: Tensor, unit: Tensor, down: Tensor) -> Tensor:
            shown = torch.cat([maps.band(unit, down), colours], dim=1)
            return F.conv2d(shown, weight[:, :-2], bias, padding=1)

        fade = reach(points, clicks.valid, side // FRAME_PER_FEATURE, frames * REACH)
        fade = F.interpolate(fade, size=(side, side), mode="bilinear", align_corners=False)
        return in_bands(first, colours, maps.unit, maps.down, margin=1), fade

    def touched(self, logits: Tensor, seen: tuple[Tensor, Tensor] | None) -> Tensor:
        assert seen is not None
        return in_bands(self._touched, logits, *seen, margin=2)

    def _touched(self, logits: Tensor, of_others: Tensor, fade: Tensor) -> Tensor:
        """The logits from the head's, the first convolution's part of maps and colours, and nearness."""
        shown = torch.cat([(logits / LOGIT).clamp(-1, 1), fade], dim=1)
        first = of_others + F.conv2d(shown, self.touch.get_parameter("0.weight")[:, -2:], padding=1)
        return logits + fade * LOGIT * self.touch[1:](first)
