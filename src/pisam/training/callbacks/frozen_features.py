"""A cache of what the frozen network says of each augmented view, where views return."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pisam.core.types import Batch, ObjectFeatures, Prediction, Prompts

Key = tuple[str, str, str, int]
Compute = Callable[[Tensor, Tensor, Prompts | None], tuple[ObjectFeatures, Prediction]]


class FrozenFeatures:
    """Keeps object features and logits per sample in main memory: 3 MB a view at S = 512."""

    def __init__(self) -> None:
        self._kept: dict[Key, tuple[Tensor, ...]] = {}

    def __call__(self, batch: Batch, part: str, compute: Compute) -> tuple[ObjectFeatures, Prediction]:
        """What the network says of the batch; only samples that are not known yet are computed.

        Each by itself: the last bits of a result depend on what else is in a batch, and a resumed run, whose
        cache is empty, meets its samples in other company.

        Args:
            batch: its `views` tell the augmented views of an image apart.
            part: "train" or "val".
            compute: the frozen network, from images (B, 3, S, S), boxes (B, 4) and prompts.
        """
        keys = [(part, *key) for key in zip(batch.sets, batch.ids, batch.views, strict=True)]
        for index, key in enumerate(keys):
            if key in self._kept:
                continue
            prompts = None if batch.prompts is None else batch.prompts.select([index])
            objects, prediction = compute(batch.image[[index]], batch.box[[index]], prompts)
            fields = (objects.enhanced, objects.token, prediction.low_res, prediction.high_res)
            self._kept[key] = tuple(value.to("cpu", copy=True) for value in fields)
        columns = zip(*(self._kept[key] for key in keys), strict=True)
        enhanced, token, low_res, high_res = (torch.cat(column).to(batch.image.device) for column in columns)
        return ObjectFeatures(enhanced, token), Prediction(low_res, high_res)
