"""E-measure at every threshold and at the adaptive one (Fan et al., IJCAI 2018)."""

from __future__ import annotations

import numpy as np

from pisam.metrics.thresholds import Thresholded

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
