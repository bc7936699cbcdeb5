"""Mean absolute error (Perazzi et al., CVPR 2012)."""

from __future__ import annotations

from pisam.metrics.joint_histogram import JointHistogram


def mean_absolute_error(histogram: JointHistogram) -> float:
    """Mean over the pixels of |normalised prediction - mask|, in [0, 1]."""
    error = histogram.inside @ (1 - histogram.values) + histogram.outside @ histogram.values
    return float(error / histogram.prediction.size)
