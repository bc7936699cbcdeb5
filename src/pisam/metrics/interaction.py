"""IoU and boundary IoU before and after clicks, and their gain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pisam.metrics.functional import binarise
from pisam.metrics.known_mask import KnownMask
from pisam.metrics.region import region_scores
from pisam.metrics.segmentation import PerSetMean


class InteractionScores(PerSetMean):
    """Scores of a mask before and after clicks, at original size.

    Keys `iou_before`, `iou_after`, `iou_gain`, the same of `biou`, and `improved`, the share of images whose
    IoU grew, and `oracle`, the gain of a perfect local repair; each also per data set as `SET/...` and over
    all images as `pooled/...`. Over sets, all of them are the mean of the sets' means. `oracle_share` is the
    share that the mean gain is of the mean oracle; NaN where that is 0.

    Args:
        set_names: all data sets.
    """

    def __init__(self, set_names: Sequence[str], **kwargs: Any) -> None:
        scores = ["iou_before", "iou_after", "iou_gain", "biou_before", "biou_after", "biou_gain"]
        super().__init__(set_names, [*scores, "improved", "oracle"], **kwargs)

    @property
    def names(self) -> list[str]:
        return [*super().names, *(f"{prefix}oracle_share" for prefix in self._prefixes)]

    def compute(self) -> dict[str, Tensor]:
        means = super().compute()
        for prefix in self._prefixes:
            gain, oracle = means[f"{prefix}iou_gain"], means[f"{prefix}oracle"]
            means[f"{prefix}oracle_share"] = (gain / oracle).where(oracle > 0, torch.nan)
        return means

    def update(
        self, before: Tensor, after: Tensor, mask: Tensor, set_name: str, repaired: Tensor | None = None
    ) -> None:
        """Add one image.

        Args:
            before: prediction without clicks, logits or bool, (H, W) or (1, 1, H, W).
            after: prediction with clicks, likewise.
            mask: bool (H, W), the mask at its original size.
            set_name: one of the sets.
            repaired: bool (H, W), `before` with the clicked components of its error repaired; None = itself.

        Raises:
            ValueError: unknown set, or sizes or types do not fit.
        """
        true = KnownMask(mask.cpu().numpy())
        old, new = (region_scores(binarise(each).cpu().numpy(), true) for each in (before, after))
        gain = {score: new[score] - old[score] for score in old}
        best = old if repaired is None else region_scores(repaired.cpu().numpy(), true, boundary=False)
        values = {"improved": float(gain["iou"] > 0), "oracle": best["iou"] - old["iou"]}
        for moment, scores in (("before", old), ("after", new), ("gain", gain)):
            values |= {f"{score}_{moment}": value for score, value in scores.items()}
        self._add(set_name, values)
