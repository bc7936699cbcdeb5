"""The one pass over the pixels behind F, MAE, S and E: levels counted inside and outside the mask."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

LEVELS = 256
_STRIP_PIXELS = 2**24  # OpenCV counts in float32, exact up to here


@dataclass(frozen=True)
class JointHistogram:
    """Levels of an 8-bit prediction inside and outside the mask, in quadrants around the mask's centroid.

    Attributes:
        counts: int64 (2, 2, 2, 256): upper / lower rows, left / right columns, outside / inside, level.
        values: float64 (256,), what a level that occurs stands for, in [0, 1], after min-max normalisation.
        prediction: uint8 (H, W).
        split: the first of the lower rows and the first of the right columns, one past the centroid.
    """

    counts: np.ndarray
    values: np.ndarray
    prediction: np.ndarray
    split: tuple[int, int]

    @property
    def outside(self) -> np.ndarray:
        """int64 (256,): pixels of each level outside the mask."""
        return self.counts[:, :, 0].sum(axis=(0, 1))

    @property
    def inside(self) -> np.ndarray:
        """int64 (256,): pixels of each level inside the mask."""
        return self.counts[:, :, 1].sum(axis=(0, 1))

    def normalised(self) -> np.ndarray:
        """float64 (H, W): the normalised prediction, pixel by pixel."""
        return self.values[self.prediction]


def joint_histogram(prediction: np.ndarray, mask: np.ndarray) -> JointHistogram:
    """Count the levels of a prediction.

    Args:
        prediction: uint8 (H, W).
        mask: bool (H, W).
    """
    inside = mask.view(np.uint8)
    row, column = (centre + 1 for centre in _centroid(inside))
    counts = np.stack(
        [
            _levels(prediction[rows, columns], inside[rows, columns])
            for rows in (slice(0, row), slice(row, None))
            for columns in (slice(0, column), slice(column, None))
        ]
    ).reshape(2, 2, 2, LEVELS)
    return JointHistogram(counts, normalised_values(counts.sum(axis=(0, 1, 2))), prediction, (row, column))


def normalised_values(counts: np.ndarray) -> np.ndarray:
    """Value of each level once those that occur are stretched to [0, 1]; l / 255 for a constant image.

    Args:
        counts: (256,), pixels of each level.

    Returns:
        float64 (256,).
    """
    values = np.arange(LEVELS) / 255
    low, high = values[np.flatnonzero(counts)[[0, -1]]]
    return (values - low) / (high - low) if high > low else values


def _centroid(inside: np.ndarray) -> tuple[int, int]:
    """Row and column of the mask's centre of mass, rounded half to even; of the image's if it is empty."""
    pixels = int(np.count_nonzero(inside))
    if not pixels:
        height, width = inside.shape
        return round(height / 2), round(width / 2)
    sums = (cv2.reduce(inside, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() for axis in (1, 0))
    row, column = (round(int(np.dot(np.arange(len(s)), s.astype(np.int64))) / pixels) for s in sums)
    return row, column


def _levels(prediction: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """int64 (2, 256): levels outside and inside the mask; uint8 (h, w) each, possibly without any pixel."""
    every, within = np.zeros((2, LEVELS), np.int64)
    if prediction.size:
        rows = max(1, _STRIP_PIXELS // prediction.shape[1])
        for start in range(0, len(prediction), rows):
            strip, chosen = prediction[start : start + rows], inside[start : start + rows]
            for total, where in ((every, None), (within, chosen)):
                total += cv2.calcHist([strip], [0], where, [LEVELS], [0, LEVELS]).ravel().astype(np.int64)
    return np.stack([every - within, within])
