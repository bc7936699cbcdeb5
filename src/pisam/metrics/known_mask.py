"""A mask with what scores take of it alone, worked out once, and IoU and boundary IoU on it."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from pisam.metrics.functional import DILATION_RATIO
from pisam.metrics.packed import count, erode_box, pack, skeleton


class KnownMask:
    """The true mask of an image.

    Args:
        pixels: bool (H, W), not changed afterwards.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = np.asarray(pixels)

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


def region_scores(prediction: np.ndarray, mask: KnownMask, *, boundary: bool = True) -> dict[str, float]:
    """`iou` and `biou`, in [0, 1]; both are 1 where prediction and mask are empty.

    Args:
        prediction: bool (H, W).
        mask: of the same size.
        boundary: give `biou` too, which takes most of the time.

    Raises:
        ValueError: not two bool masks of one size.
    """
    if prediction.dtype != bool or mask.pixels.dtype != bool or prediction.shape != mask.pixels.shape:
        raise ValueError(
            "expected two bool masks (H, W) of one size, got prediction "
            f"{prediction.dtype} {prediction.shape} and mask {mask.pixels.dtype} {mask.pixels.shape}"
        )
    predicted = pack(prediction)
    scores = {"iou": _iou(predicted, mask.packed)}
    if boundary:
        scores["biou"] = _iou(band_of(predicted, prediction.shape), mask.band)
    return scores


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    union = count(one | other)
    return count(one & other) / union if union else 1.0
