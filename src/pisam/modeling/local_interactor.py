"""A Precise Interactor that knows how near and how like each pixel is to the clicks, and stays near them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pisam.core.types import Clicks, ObjectFeatures
from pisam.modeling.click_maps import click_maps, reach
from pisam.modeling.layers import LayerNorm2d, conv3x3
from pisam.modeling.precise_interactor import FRAME_PER_FEATURE, PreciseInteractor, unit_points

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

    def touched(self, logits: Tensor, colours: Tensor, clicks: Clicks, frame: int) -> Tensor:
        side = logits.shape[-1]
        points, frames = clicks.points / side, frame / side  # of the window: units and the size of a frame
        maps = click_maps(colours, points, clicks.labels, clicks.valid, [frames * spread for spread in FINE])
        fade = reach(points, clicks.valid, side // FRAME_PER_FEATURE, frames * REACH)
        fade = F.interpolate(fade, size=(side, side), mode="bilinear", align_corners=False)
        shown = torch.cat([maps, colours, (logits / LOGIT).clamp(-1, 1), fade], dim=1)
        return logits + fade * LOGIT * self.touch(shown)
