"""All scores per data set, exact for any number of ranks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from pisam.metrics.image_scores import METRICS, ImageScores, known
from pisam.metrics.joint_histogram import LEVELS
from pisam.metrics.segmentation import PerSetMean


class SetScores(PerSetMean):
    """Scores over data sets of images that `score_image` has scored: `SET/score`, over sets `score`, pooled.

    All are means over images, but `max_f` and `max_e` are those of the images' mean curve, as papers print
    them; the means of the images' own are `max_f_per_image` and `max_e_per_image`. Over sets,
    each is the mean of the sets' scores; `pooled/score` treats all images as those of one set.

    Args:
        set_names: all data sets.
        metrics: names out of `METRICS`.

    Raises:
        ValueError: no set, a set named twice or `POOLED`; no metric, or an unknown one.
    """

    f_curves: Tensor
    e_curves: Tensor

    def __init__(self, set_names: Sequence[str], metrics: Collection[str] = METRICS, **kwargs: Any) -> None:
        super().__init__(set_names, known(metrics), **kwargs)
        for name in ("f_curves", "e_curves"):
            empty = torch.zeros(len(self.set_names), LEVELS, dtype=self.total.dtype)
            self.add_state(name, empty, dist_reduce_fx="sum")

    def update(self, image: ImageScores, set_name: str) -> None:
        """Add one image.

        Args:
            image: what `score_image` returned for at least the metrics of this object.
            set_name: one of the sets.

        Raises:
            ValueError: unknown set, or a metric is missing.
        """
        if missing := [score for score in self.scores if score not in image.values]:
            raise ValueError(f"expected an image scored for {self.scores}, {missing} missing")
        self._add(set_name, image.values)
        index = self.set_names.index(set_name)
        for sums, curve in ((self.f_curves, image.f_curve), (self.e_curves, image.e_curve)):
            if curve is not None:
                sums[index] += torch.from_numpy(curve).to(sums)

    def compute(self) -> dict[str, Tensor]:
        """Scalars `SET/score`, over all images `pooled/score` and, over the sets that had images, `score`.

        The keys and their order are the same on every rank; a set without any image has NaN.
        """
        scores = super().compute()
        for name, sums in (("max_f", self.f_curves), ("max_e", self.e_curves)):
            if name in self.scores:
                best = (sums / self.count.unsqueeze(1)).amax(dim=1)
                pooled = (sums.sum(dim=0) / self.count.sum()).amax()
                for prefix, value in zip(self._prefixes, [*best, pooled, best.nanmean()], strict=True):
                    scores[f"{prefix}{name}_per_image"] = scores[f"{prefix}{name}"]
                    scores[f"{prefix}{name}"] = value
        return scores
