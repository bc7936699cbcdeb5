"""Weighted F-measure (Margolin et al., CVPR 2014): errors weigh by where they lie and by those around
them."""

from __future__ import annotations

import math

import cv2
import numpy as np

from pisam.metrics.sod import JointHistogram

REACH = 3
"""Half the side of the window over which errors inside the mask are averaged, in pixels."""
SIGMA = 5.0
DECAY = math.log(0.5) / 5
EPSILON = np.spacing(1)

# exp(DECAY * distance) by the square of the distance; without the mask itself, and nil from 200 pixels on.
_FAR = 200
_NEARNESS = np.exp(DECAY * np.sqrt(np.arange(_FAR**2 + 1)))
_NEARNESS[[0, -1]] = 0

_GAUSSIAN = np.exp(-(np.arange(-REACH, REACH + 1.0) ** 2) / (2 * SIGMA**2))
_GAUSSIAN /= _GAUSSIAN.sum()

# A pixel with one of the mask within REACH rows and columns has its nearest one at most this far away.
_FARTHEST = math.isqrt(2 * REACH**2)
_FRAME = REACH + _FARTHEST
_NEAREST_FIRST = sorted(
    (
        (row, column)
        for row in range(-_FARTHEST, _FARTHEST + 1)
        for column in range(-_FARTHEST, _FARTHEST + 1)
        if row**2 + column**2 <= 2 * REACH**2
    ),
    key=lambda step: (step[0] ** 2 + step[1] ** 2, step[1], step[0]),
)


def weighted_f(histogram: JointHistogram, mask: np.ndarray) -> float:
    """Weighted F with beta 1, in [0, 1], from the histogram on a mask, bool (H, W); 0 for an empty one."""
    pixels = np.count_nonzero(mask)
    if not pixels:
        return 0.0
    missed = _missed(histogram, mask)
    hits, false_alarms = pixels - missed, _false_alarms(histogram, mask)
    recall, precision = 1 - missed / pixels, hits / (hits + false_alarms + EPSILON)
    return float(2 * recall * precision / (recall + precision + EPSILON))


def _false_alarms(histogram: JointHistogram, mask: np.ndarray) -> float:
    """Errors outside the mask: each once near the mask, up to twice far away."""
    error = float(histogram.outside @ histogram.values)
    if not error:
        return 0.0
    distance = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Squares are whole numbers: a table is exact, and the same wherever the arrays lie in memory.
    squares = np.minimum(np.rint(distance * distance), _FAR**2).astype(np.int32)
    excused = cv2.multiply(_NEARNESS[squares], cv2.LUT(histogram.prediction, histogram.values))
    return 2 * error - float(np.sum(excused))


def _missed(histogram: JointHistogram, mask: np.ndarray) -> float:
    """Errors inside the mask: each at most as large as the Gaussian mean of the errors around it.

    Around an object that mean takes, for a pixel outside, the error of the nearest pixel inside. No pixel
    further than `REACH` from the mask enters it, so the nearest ones are needed in a narrow band alone.
    """
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    box = slice(top, top + height), slice(left, left + width)
    inside = np.pad(mask[box], _FRAME)
    error = np.zeros(inside.shape)
    inner = error[_FRAME:-_FRAME, _FRAME:-_FRAME]
    np.multiply(cv2.LUT(histogram.prediction[box], 1 - histogram.values), mask[box], out=inner)
    if not inner.any():
        return 0.0
    image = np.pad(np.ones(mask.shape, bool), _FRAME)[top:, left:][: inside.shape[0], : inside.shape[1]]
    _spread(error, inside, image)
    mean = cv2.sepFilter2D(error, -1, _GAUSSIAN, _GAUSSIAN, borderType=cv2.BORDER_CONSTANT)
    np.minimum(mean, error, out=mean)
    return float(np.ravel(cv2.mean(mean, mask=inside.view(np.uint8)))[0]) * np.count_nonzero(inside)


def _spread(error: np.ndarray, inside: np.ndarray, image: np.ndarray) -> None:
    """Give each pixel in the band around the mask the error of its nearest pixel of the mask, in place.

    Of equally near ones the leftmost counts, then the topmost, as in scipy's distance transform.

    Args:
        error: float64 (h, w), contiguous, 0 outside the mask.
        inside: bool (h, w), the mask with a frame of `_FRAME` around it.
        image: bool (h, w), where the frame lies on the image.
    """
    near = cv2.dilate(inside.view(np.uint8), np.ones((2 * REACH + 1,) * 2, np.uint8)).view(bool)
    band = np.flatnonzero(near & ~inside & image)
    errors, mask = error.ravel(), inside.ravel()
    for row, column in _NEAREST_FIRST:
        source = band + (row * inside.shape[1] + column)
        hit = mask[source]
        errors[band[hit]] = errors[source[hit]]
        band = band[~hit]
        if not len(band):
            return
