"""Scores per data set, before and after clicks too, exact for any number of ranks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from pisam.core.checks import POOLED
from pisam.core.score_names import INTERACTION, OF_MEANS, of_interaction, prefixes, with_sets
from pisam.metrics.functional import KnownMask, binarise, region_scores
from pisam.metrics.image_scores import METRICS, ImageScores, known
from pisam.metrics.sod import LEVELS


class PerSetMean(Metric):
    """Base of scores that are a mean over the images of each data set, over sets, and over all images.

    Over sets it is the mean of the sets' means, in which an image of a small set weighs more; `POOLED` is the
    mean over the images of all sets, in which each weighs the same. A subclass turns an image into its scores
    in `update` and hands them to `_add`. The states are sums over images, so each rank may hold any number of
    images, also none of some set.

    Args:
        set_names: all data sets.
        scores: names of the scores of an image.

    Attributes:
        newest: the scores of the image that was added last.

    Raises:
        ValueError: no set, a set named twice, or one named as `POOLED`.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, set_names: Sequence[str], scores: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not set_names or len({*set_names, POOLED}) <= len(set_names):
            raise ValueError(
                f"expected at least one data set, each named once and none {POOLED}, got {list(set_names)}"
            )
        self.set_names, self.scores = list(set_names), list(scores)
        self.newest: dict[str, float] = {}
        # Of the devices supported only Apple's has no float64.
        dtype = torch.float32 if torch.backends.mps.is_available() else torch.float64
        self.add_state("total", torch.zeros(len(set_names), len(scores), dtype=dtype), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(len(set_names), dtype=dtype), dist_reduce_fx="sum")

    @property
    def names(self) -> list[str]:
        """The keys of `compute`, the same on every rank."""
        return with_sets(self.set_names, self.scores)

    def _add(self, set_name: str, values: Mapping[str, float | Tensor]) -> None:
        if set_name not in self.set_names:
            raise ValueError(f"unknown data set {set_name!r}: expected one of {self.set_names}")
        index = self.set_names.index(set_name)
        row = self.total.new_tensor([float(values[score]) for score in self.scores])
        self.total[index] += row
        self.newest = dict(zip(self.scores, row.tolist(), strict=True))
        self.count[index] += 1

    def compute(self) -> dict[str, Tensor]:
        """Scalars `SET/score`, over all images `pooled/score` and, over the sets that had images, `score`.

        The keys and their order are the same on every rank; a set without any image has NaN.
        """
        means = self.total / self.count.unsqueeze(1)
        pooled = self.total.sum(dim=0) / self.count.sum()
        values = [*means.flatten(), *pooled, *means.nanmean(dim=0)]
        return dict(zip(with_sets(self.set_names, self.scores), values, strict=True))


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
        super().__init__(set_names, INTERACTION, **kwargs)

    @property
    def names(self) -> list[str]:
        return of_interaction(self.set_names)

    def compute(self) -> dict[str, Tensor]:
        means = super().compute()
        for prefix in prefixes(self.set_names):
            gain, oracle = means[f"{prefix}iou_gain"], means[f"{prefix}oracle"]
            means[f"{prefix}{OF_MEANS}"] = (gain / oracle).where(oracle > 0, torch.nan)
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


class SetScores(PerSetMean):
    """Scores over data sets of images that `score_image` has scored: `SET/score`, over sets `score`, pooled.

    All are means over images, but `max_f` and `max_e` are those of the images' mean curve, as papers print
    them; the means of the images' own are `max_f_per_image` and `max_e_per_image`. Over sets,
    each is the mean of the sets' scores; `pooled/score` treats all images as those of one set.

    Args:
        metrics: names out of `METRICS`; ValueError for none, or an unknown one.
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
        scores = super().compute()
        for name, sums in (("max_f", self.f_curves), ("max_e", self.e_curves)):
            if name in self.scores:
                best = (sums / self.count.unsqueeze(1)).amax(dim=1)
                pooled = (sums.sum(dim=0) / self.count.sum()).amax()
                for prefix, value in zip(
                    prefixes(self.set_names), [*best, pooled, best.nanmean()], strict=True
                ):
                    scores[f"{prefix}{name}_per_image"] = scores[f"{prefix}{name}"]
                    scores[f"{prefix}{name}"] = value
        return scores
