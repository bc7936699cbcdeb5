"""Intersection over union of one binary pair at its original size, of the areas and of the boundaries.

On tensors of any device, and, several times faster, on packed masks of which the true one is known.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pisam.metrics.packed import count, erode_box, pack, skeleton

LOGIT_THRESHOLD = 0.0
DILATION_RATIO = 0.02


def binarise(prediction: Tensor) -> Tensor:
    """A prediction of one image as a binary mask.

    Args:
        prediction: float logits (positive = object) or bool, (H, W) or with leading axes of length 1.

    Returns:
        bool (H, W).

    Raises:
        ValueError: more than one image, neither logits nor bool, or NaN, which is neither object nor not.
    """
    if not isinstance(prediction, Tensor):
        raise ValueError(f"expected a tensor (H, W), got {type(prediction).__name__}")
    if prediction.ndim < 2 or prediction.numel() != prediction.shape[-2] * prediction.shape[-1]:
        raise ValueError(f"expected one image (H, W) or (1, 1, H, W), got {tuple(prediction.shape)}")
    prediction = prediction.reshape(prediction.shape[-2:])
    if prediction.dtype == torch.bool:
        return prediction
    if not prediction.is_floating_point():
        raise ValueError(f"expected float logits or a bool mask, got {prediction.dtype}")
    if prediction.isnan().any():
        raise ValueError("expected logits, got NaN among them")
    return prediction > LOGIT_THRESHOLD


def iou(prediction: Tensor, mask: Tensor) -> Tensor:
    """Intersection over union, in [0, 1].

    Args:
        prediction: bool (H, W).
        mask: bool (H, W) on the same device.

    Returns:
        float32 scalar; 1 where both are empty, as nothing was there and nothing was said to be.

    Raises:
        ValueError: not two bool masks of one size.
    """
    _check_pair(prediction, mask)
    union = (prediction | mask).count_nonzero()
    return ((prediction & mask).count_nonzero() / union.clamp(min=1)).where(union > 0, 1.0)


def boundary_iou(prediction: Tensor, mask: Tensor, dilation_ratio: float = DILATION_RATIO) -> Tensor:
    """Boundary IoU (Cheng et al., CVPR 2021), in [0, 1]: the IoU of the inner bands along the two contours.

    Args:
        prediction: bool (H, W).
        mask: bool (H, W) on the same device.
        dilation_ratio: width of the band as a fraction of the image diagonal.

    Returns:
        float32 scalar; 1 where both are empty.

    Raises:
        ValueError: not two bool masks of one size, or no such width.
    """
    _check_pair(prediction, mask)
    return iou(*(boundary_band(each, dilation_ratio) for each in (prediction, mask)))


def boundary_band(mask: Tensor, dilation_ratio: float = DILATION_RATIO) -> Tensor:
    """The pixels of a mask within d of its outside in Chebyshev distance; the image border counts as outside.

    Args:
        mask: bool (H, W).
        dilation_ratio: d as a fraction of the image diagonal, rounded to pixels, at least 1.

    Returns:
        bool (H, W).

    Raises:
        ValueError: no such width.
    """
    pixels = dilation_ratio * math.hypot(*mask.shape)
    if not 0 <= pixels < math.inf:
        raise ValueError(f"dilation_ratio: expected a share of the diagonal, 0 or more, got {dilation_ratio}")
    distance = max(1, round(min(pixels, max(mask.shape))))  # which is wide enough to leave nothing inside
    inner = _erode(_erode(mask, distance, dim=0), distance, dim=1)
    return mask & ~inner


def _check_pair(prediction: Tensor, mask: Tensor) -> None:
    pair = {"prediction": prediction, "mask": mask}
    bools = all(isinstance(each, Tensor) and each.dtype == torch.bool for each in pair.values())
    if not bools or mask.ndim != 2 or prediction.shape != mask.shape:
        kinds = [
            f"{name} {getattr(each, 'dtype', type(each).__name__)} {tuple(getattr(each, 'shape', ()))}"
            for name, each in pair.items()
        ]
        raise ValueError(f"expected two bool masks (H, W) of one size, tensors, got {' and '.join(kinds)}")


def _erode(mask: Tensor, distance: int, dim: int) -> Tensor:
    """Erosion by `distance` pixels to both sides along one axis of (H, W).

    The AND over a window is built from windows of half its length, so the cost grows with log(distance).
    """
    window = 2 * distance + 1
    padding = (0, 0, distance, distance) if dim == 0 else (distance, distance)
    result = F.pad(mask, padding, value=False)
    covered = 1
    while covered < window:
        step = min(covered, window - covered)
        length = result.shape[dim] - step
        result = result.narrow(dim, 0, length) & result.narrow(dim, step, length)
        covered += step
    return result


class KnownMask:
    """The true mask of an image, bool (H, W), which is not changed afterwards."""

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
    """The band of boundary IoU of a mask of this shape (H, W) in packed words: `boundary_band`."""
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
