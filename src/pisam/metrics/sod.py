"""F-measure, E-measure, S-measure and MAE of soft predictions, from one count of their levels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

LEVELS = 256
_STRIP_PIXELS = 2**24  # OpenCV counts in float32, exact up to here


@dataclass(frozen=True)
class JointHistogram:
    """Levels of an 8-bit prediction inside and outside the mask, in quadrants around the mask's centroid."""

    # int64 (2, 2, 2, 256): upper / lower rows, left / right columns, outside / inside, level
    counts: np.ndarray
    # float64 (256,), what a level that occurs stands for, in [0, 1], after min-max normalisation
    values: np.ndarray
    prediction: np.ndarray  # uint8 (H, W)
    # the first of the lower rows and the first of the right columns, one past the centroid
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
    """Count the levels of a prediction, uint8 (H, W), in and off a mask, bool (H, W)."""
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


_TIE = 1e-9


@dataclass(frozen=True)
class Thresholded:
    """Counts of a prediction at one or more thresholds."""

    hits: np.ndarray  # int64 (T,), pixels at or above the threshold inside the mask
    false_alarms: np.ndarray  # int64 (T,), the same outside
    mask_pixels: int  # pixels of the mask
    pixels: int  # pixels of the image


def at_every_level(histogram: JointHistogram) -> Thresholded:
    """The thresholds 0, 1, .. 255, compared with floor(255 * normalised value)."""
    levels = (histogram.values * 255).astype(np.uint8)
    return _thresholded(
        histogram,
        *(
            np.bincount(levels, counts, LEVELS)[::-1].cumsum()[::-1].astype(np.int64)
            for counts in (histogram.inside, histogram.outside)
        ),
    )


def at_adaptive_threshold(histogram: JointHistogram) -> Thresholded:
    """One threshold: twice the mean of the normalised prediction, at most 1."""
    counts = histogram.inside + histogram.outside
    threshold = 2 * float(counts @ histogram.values) / counts.sum()
    if (np.abs(histogram.values - threshold)[counts > 0] < _TIE).any():
        # A level lies on the threshold: let the rounding of a plain mean decide, as it does elsewhere.
        threshold = 2 * float(histogram.normalised().mean())
    chosen = histogram.values >= min(threshold, 1.0)
    return _thresholded(
        histogram, *(counts[chosen].sum(keepdims=True) for counts in (histogram.inside, histogram.outside))
    )


def _thresholded(histogram: JointHistogram, hits: np.ndarray, false_alarms: np.ndarray) -> Thresholded:
    return Thresholded(hits, false_alarms, int(histogram.inside.sum()), histogram.prediction.size)


def mean_absolute_error(histogram: JointHistogram) -> float:
    """Mean over the pixels of |normalised prediction - mask|, in [0, 1]."""
    error = histogram.inside @ (1 - histogram.values) + histogram.outside @ histogram.values
    return float(error / histogram.prediction.size)


BETA_SQUARED = 0.3


def f_measure(counts: Thresholded) -> np.ndarray:
    """F at each threshold.

    Args:
        counts: T thresholds.

    Returns:
        float64 (T,) in [0, 1]; 0 where nothing is hit, so also for an empty mask.
    """
    chosen = np.maximum(counts.hits + counts.false_alarms, 1)
    precision, recall = counts.hits / chosen, counts.hits / max(counts.mask_pixels, 1)
    return (
        (1 + BETA_SQUARED) * precision * recall / np.where(counts.hits, BETA_SQUARED * precision + recall, 1)
    )


EPSILON = np.spacing(1)


def e_measure(counts: Thresholded) -> np.ndarray:
    """E at each threshold: how well the binarised prediction aligns with the mask once both have zero mean.

    A pixel's alignment depends only on its two values, so four kinds of pixels make up the whole image.

    Args:
        counts: T thresholds.

    Returns:
        float64 (T,) in [0, 1], up to N / (N - 1) for N pixels, by which the published code divides.
    """
    chosen = counts.hits + counts.false_alarms
    if counts.mask_pixels == 0:
        aligned = (counts.pixels - chosen).astype(np.float64)
    elif counts.mask_pixels == counts.pixels:
        aligned = chosen.astype(np.float64)
    else:
        mean_prediction, mean_mask = chosen / counts.pixels, counts.mask_pixels / counts.pixels
        missed = counts.mask_pixels - counts.hits
        rejected = counts.pixels - chosen - missed
        aligned = np.zeros(len(chosen))
        for pixels, predicted, true in (
            (counts.hits, 1, 1),
            (counts.false_alarms, 1, 0),
            (missed, 0, 1),
            (rejected, 0, 0),
        ):
            one, other = predicted - mean_prediction, true - mean_mask
            alignment = 2 * one * other / (one**2 + other**2 + EPSILON)
            aligned += (alignment + 1) ** 2 / 4 * pixels
    return aligned / (counts.pixels - 1 + EPSILON)


ALPHA = 0.5


def s_measure(histogram: JointHistogram) -> float:
    """S-measure, in [0, 1].

    An empty mask scores 1 - the mean prediction, a full one the mean prediction. A region without pixels,
    which makes PySODMetrics answer NaN, has no weight here.
    """
    inside, outside, values = histogram.inside, histogram.outside, histogram.values
    share = inside.sum() / histogram.prediction.size
    mean = float((inside + outside) @ values / histogram.prediction.size)
    if share == 0:
        return 1 - mean
    if share == 1:
        return mean
    objects = share * _object(inside, values) + (1 - share) * _object(outside, 1 - values)
    return max(0.0, float(ALPHA * objects + (1 - ALPHA) * _regions(histogram)))


def _object(counts: np.ndarray, values: np.ndarray) -> float:
    pixels = counts.sum()
    mean = counts @ values / pixels
    deviation = np.sqrt(counts @ (values - mean) ** 2 / (pixels - 1)) if pixels > 1 else 0.0
    return float(2 * mean / (mean**2 + 1 + deviation + EPSILON))


def _regions(histogram: JointHistogram) -> float:
    """Mean structural similarity of the four quadrants, weighted by their areas."""
    row, column = histogram.split
    total = 0.0
    for counts_of_rows, rows in zip(histogram.counts, (slice(0, row), slice(row, None)), strict=True):
        for counts, columns in zip(counts_of_rows, (slice(0, column), slice(column, None)), strict=True):
            if pixels := counts.sum():
                total += pixels * _similarity(counts, histogram, (rows, columns))
    return float(total / histogram.prediction.size)


def _similarity(counts: np.ndarray, histogram: JointHistogram, window: tuple[slice, slice]) -> float:
    """Structural similarity of prediction and mask in a window, of the statistics of all its pixels."""
    outside, inside = counts
    every = outside + inside
    pixels, values = every.sum(), histogram.values
    mean, mask_mean = every @ values / pixels, inside.sum() / pixels
    if mask_mean in (0, 1):
        # Without any structure in the mask only a constant prediction is alike. Whether it counts as constant
        # is a matter of rounding in the plain formula, whose verdict is wanted here too.
        level = values[every > 0]
        if len(level) > 1:
            return 0.0
        return float(level[0] in (0, 1) or histogram.normalised()[window].mean() == level[0])
    variances = every @ (values - mean) ** 2 + pixels * mask_mean * (1 - mask_mean)
    covariance = inside @ (values - mean)
    freedom = pixels - 1 + EPSILON
    return float(
        4
        * mean
        * mask_mean
        * covariance
        / freedom
        / ((mean**2 + mask_mean**2) * variances / freedom + EPSILON)
    )
