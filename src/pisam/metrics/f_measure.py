"""F-measure at every threshold and at the adaptive one (Achanta et al., CVPR 2009), beta squared 0.3."""

from __future__ import annotations

import numpy as np

from pisam.metrics.thresholds import Thresholded

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
