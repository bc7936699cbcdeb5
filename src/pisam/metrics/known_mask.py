"""A mask together with what scores take of it alone, worked out once for any number of predictions."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from pisam.metrics.functional import DILATION_RATIO
from pisam.metrics.packed import erode_box, pack
from pisam.metrics.thinning import skeleton


class KnownMask:
    """The true mask of an image.

    Args:
        pixels: bool (H, W), not changed afterwards.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    @cached_property
    def packed(self) -> np.ndarray:
        """uint64, see `packed.pack`."""
        return pack(self.pixels)

    @cached_property
    def band(self) -> np.ndarray:
        """Packed like the mask: its pixels near its contour, see `band_of`."""
        return band_of(self.packed, self.pixels.shape)

    @cached_property
    def skeleton(self) -> np.ndarray:
        """bool (H, W)."""
        return skeleton(self.pixels)


def band_of(words: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The band of boundary IoU (Cheng et al., CVPR 2021) of a packed mask: `functional.boundary_band`.

    Args:
        words: of `packed.pack`.
        shape: (H, W) of the mask.
    """
    return words & ~erode_box(words, max(1, round(DILATION_RATIO * math.hypot(*shape))))
