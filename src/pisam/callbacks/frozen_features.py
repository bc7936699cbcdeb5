"""A cache of what the frozen network says of each augmented view, where views return."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pisam.types import Batch, ObjectFeatures, Prediction

Key = tuple[str, str, str, int]
Compute = Callable[[Batch], tuple[ObjectFeatures, Prediction]]


class FrozenFeatures:
    """Keeps object features and high-resolution logits per sample in main memory.

    At S = 512 a view takes 3 MB. A batch is taken from the cache as a whole or computed as a whole.
    """

    def __init__(self) -> None:
        self._kept: dict[Key, tuple[Tensor, ...]] = {}

    def __call__(self, batch: Batch, part: str, compute: Compute) -> tuple[ObjectFeatures, Prediction]:
        """What `compute` gives for the batch, from memory where every sample is known.

        Args:
            batch: its `views` tell the augmented views of an image apart.
            part: "train" or "val".
            compute: the frozen network.
        """
        keys = [(part, *key) for key in zip(batch.sets, batch.ids, batch.views, strict=True)]
        if not all(key in self._kept for key in keys):
            objects, prediction = compute(batch)
            fields = (objects.enhanced, objects.token, prediction.low_res, prediction.high_res)
            for index, key in enumerate(keys):
                self._kept[key] = tuple(field[index].to("cpu", copy=True) for field in fields)
            return objects, prediction
        device = batch.image.device
        columns = zip(*(self._kept[key] for key in keys), strict=True)
        enhanced, token, low_res, high_res = (torch.stack(column).to(device) for column in columns)
        return ObjectFeatures(enhanced, token), Prediction(low_res, high_res)
