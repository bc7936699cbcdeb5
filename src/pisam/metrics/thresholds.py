"""Pixels above each threshold, inside and outside the mask: what F and E are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pisam.metrics.joint_histogram import LEVELS, JointHistogram

_TIE = 1e-9


@dataclass(frozen=True)
class Thresholded:
    """Counts of a prediction at one or more thresholds.

    Attributes:
        hits: int64 (T,), pixels at or above the threshold inside the mask.
        false_alarms: int64 (T,), the same outside.
        mask_pixels: pixels of the mask.
        pixels: pixels of the image.
    """

    hits: np.ndarray
    false_alarms: np.ndarray
    mask_pixels: int
    pixels: int


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
