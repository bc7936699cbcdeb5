"""IoU and boundary IoU of one binary pair on the CPU: those of `metrics.functional`, many times faster."""

from __future__ import annotations

import numpy as np

from pisam.metrics.known_mask import KnownMask, band_of
from pisam.metrics.packed import count, pack


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
