"""Large maps some rows at a time: what is worked out in between fits a processor's cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ROWS = 128  # of the largest map at a time


def in_bands(of: Callable[..., Tensor], *maps: Tensor, margin: int) -> Tensor:
    """The numbers of `of(*maps)`, on a CPU without gradients in less than half the time at 1024 px.

    Args:
        of: from the maps to one of C channels, each of whose rows depends on those near it alone.
        maps: float (B, C, H, W), the heights multiples of the least of them.
        margin: rows of the lowest map above and below that a row may depend on.

    Returns:
        float (B, C, H, W), its height a multiple of the least.
    """
    height = min(each.shape[-2] for each in maps)
    scales = [each.shape[-2] // height for each in maps]
    tracing = torch.jit.is_tracing() or torch.compiler.is_compiling()
    if torch.is_grad_enabled() or tracing or maps[0].device.type != "cpu":
        return of(*maps)
    step, bands = max(1, ROWS // max(scales)), []
    for top in range(0, height, step):
        start, end = max(0, top - margin), min(height, top + step + margin)
        cut = (each[..., start * scale : end * scale, :] for each, scale in zip(maps, scales, strict=True))
        band = of(*cut)
        scale = band.shape[-2] // (end - start)
        bands.append(band[..., (top - start) * scale : (min(top + step, height) - start) * scale, :])
    return torch.cat(bands, dim=-2)
