"""A cache of what the frozen network says of each augmented view, where views return."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pisam.types import Batch, ObjectFeatures, Prediction, Prompts

Key = tuple[str, str, str, int]
Compute = Callable[[Tensor, Tensor, Prompts | None], tuple[ObjectFeatures, Prediction]]


class FrozenFeatures:
    """Keeps object features and logits per sample in main memory: 3 MB a view at S = 512."""

    def __init__(self) -> None:
        self._kept: dict[Key, tuple[Tensor, ...]] = {}

    def __call__(self, batch: Batch, part: str, compute: Compute) -> tuple[ObjectFeatures, Prediction]:
        """What the network says of the batch; only samples that are not known yet are computed.

        Args:
            batch: its `views` tell the augmented views of an image apart.
            part: "train" or "val".
            compute: the frozen network, from images (B, 3, S, S), boxes (B, 4) and prompts.
        """
        keys = [(part, *key) for key in zip(batch.sets, batch.ids, batch.views, strict=True)]
        new = [index for index, key in enumerate(keys) if key not in self._kept]
        if new:
            prompts = None if batch.prompts is None else batch.prompts.select(new)
            objects, prediction = compute(batch.image[new], batch.box[new], prompts)
            fields = (objects.enhanced, objects.token, prediction.low_res, prediction.high_res)
            for index, values in zip(new, zip(*fields, strict=True), strict=True):
                self._kept[keys[index]] = tuple(value.to("cpu", copy=True) for value in values)
        columns = zip(*(self._kept[key] for key in keys), strict=True)
        enhanced, token, low_res, high_res = (
            torch.stack(column).to(batch.image.device) for column in columns
        )
        return ObjectFeatures(enhanced, token), Prediction(low_res, high_res)
