"""Means of scores per data set, exact for any number of ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from pisam.core.set_names import POOLED


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
        return [f"{prefix}{score}" for prefix in self._prefixes for score in self.scores]

    @property
    def _prefixes(self) -> list[str]:
        """Before the scores of each set, of all images, and over sets."""
        return [*(f"{name}/" for name in (*self.set_names, POOLED)), ""]

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
        names = (f"{prefix}{score}" for prefix in self._prefixes for score in self.scores)
        return dict(zip(names, values, strict=True))
