"""S-measure (Fan et al., ICCV 2017): likeness of object and background, and of the structure of four
regions."""

from __future__ import annotations

import numpy as np

from pisam.metrics.joint_histogram import JointHistogram

ALPHA = 0.5
EPSILON = np.spacing(1)


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
