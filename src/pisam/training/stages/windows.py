"""Parts of frames: where a loss on a window of each frame looks, instead of on all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pisam.core.seeding import derive_seed

STEP = 4  # frame pixels per pixel of the mask feature: windows start and end with those


def draw_windows(mask: Tensor, extent: Tensor, side: int, seeds: Sequence[int]) -> Tensor:
    """The upper left corner of a window on the edge of each mask: int64 (B, 2), (x, y), multiples of `STEP`.

    Args:
        mask: bool (B, 1, S, S).
        extent: (B, 2), (width, height) of the content in pixels; the window holds some of it.
        side: of the square window in pixels, at most S.
        seeds: B integers, each of one window.
    """
    size = mask.shape[-1]
    corners = []
    for one, (width, height), seed in zip(
        mask[:, 0].cpu().numpy(), extent.long().tolist(), seeds, strict=True
    ):
        rng = np.random.default_rng(derive_seed(seed, "window"))
        edge = np.flatnonzero(one[:, 1:] != one[:, :-1])
        if len(edge):
            y, x = np.divmod(rng.choice(edge), size - 1)
        else:
            x, y = rng.integers(width), rng.integers(height)
        corners.append(window_around(np.array([x, y]), (width, height), side, size, rng))
    return torch.from_numpy(np.stack(corners)).to(mask.device)


def window_around(
    place: npt.NDArray[np.number], extent: Sequence[int], side: int, size: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The corner (x, y) of a window about a place of the content, as far as the frame allows."""
    middle = np.clip(place + rng.integers(-side // 4, side // 4, size=2), 0, np.array(extent) - 1)
    return np.clip(middle - side // 2, 0, size - side).astype(np.int64) // STEP * STEP


def cut(maps: Tensor, corners: Tensor, side: int, size: int) -> Tensor:
    """The windows (B, C, h, h) of maps (B, C, H, H) of whole frames of `size` pixels."""
    cells = maps.shape[-1]
    starts = (corners * cells // size).tolist()
    length = side * cells // size
    return torch.stack(
        [one[:, y : y + length, x : x + length] for one, (x, y) in zip(maps, starts, strict=True)]
    )
