"""The simplest scores per data set, for tests of what all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pisam.metrics.functional import binarise, boundary_iou, iou
from pisam.metrics.set_scores import PerSetMean


class SegmentationScores(PerSetMean):
    """IoU and boundary IoU at original size: `SET/iou`, `SET/biou`, `pooled/...`, `iou`, `biou`.

    Args:
        set_names: all data sets.
    """

    def __init__(self, set_names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(set_names, ["iou", "biou"], **kwargs)

    def update(self, prediction: Tensor, mask: Tensor, set_name: str) -> None:
        """Add one image.

        Args:
            prediction: logits or bool, (H, W) or (1, 1, H, W).
            mask: bool (H, W), the mask at its original size.
            set_name: one of the sets.

        Raises:
            ValueError: unknown set, or sizes or types do not fit.
        """
        predicted = binarise(prediction)
        self._add(set_name, {"iou": iou(predicted, mask), "biou": boundary_iou(predicted, mask)})
