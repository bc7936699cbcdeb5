"""The oracle: a perfect local repair of the errors that were clicked, which gains are read beside."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pisam.core.locality import last_labels
from pisam.core.types import BoolArray, Click


def clicked_errors(
    prediction: BoolArray, mask: BoolArray, clicks: Sequence[Click], connectivity: int = 8
) -> BoolArray:
    """The connected components of the error that clicks of the right label lie on.

    Args:
        prediction: bool (H, W).
        mask: bool (H, W), the truth.
        clicks: in pixels of the mask.
        connectivity: of components, 4 or 8; missed and false foreground never join.

    Returns:
        bool (H, W).
    """
    wrong, region = prediction != mask, np.zeros(mask.shape, bool)
    labels = last_labels(clicks, mask.shape)
    for label in (0, 1):
        pixels = [p for p, own in labels.items() if own == label == mask[p] and wrong[p]]
        if pixels:
            error = (wrong & (mask == bool(label))).view(np.uint8)
            count, numbers = cv2.connectedComponents(error, connectivity=connectivity)
            chosen = np.zeros(count, bool)
            chosen[[numbers[pixel] for pixel in pixels]] = True
            region |= chosen[numbers]
    return region


def locally_repaired(
    prediction: BoolArray, mask: BoolArray, clicks: Sequence[Click], connectivity: int = 8
) -> BoolArray:
    """The prediction with exactly the clicked components of its error repaired; arguments as above."""
    return np.where(clicked_errors(prediction, mask, clicks, connectivity), mask, prediction)
