"""A cache of the frozen network's features of each augmented view, where views return."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pisam.core.types import Batch, Clicks, ObjectFeatures, Prediction
from pisam.training.stages.frozen_answer import FrozenAnswer

Key = tuple[str, str, str, int]


Compute = Callable[[Batch], FrozenAnswer]


class FrozenFeatures:
    """Keeps frozen answers per sample in main memory: 3 MB a view at S = 512."""

    def __init__(self) -> None:
        self._kept: dict[Key, FrozenAnswer] = {}

    def __call__(self, batch: Batch, part: str, compute: Compute) -> FrozenAnswer:
        """The network's features of the batch; only samples that are not known yet are computed.

        Each by itself: the last bits of a result depend on what else is in a batch, and a resumed run, whose
        cache is empty, meets its samples in other company.

        Args:
            batch: its `views` tell the augmented views of an image apart.
            part: "train" or "val".
            compute: the frozen network and the clicks on it, of a batch.
        """
        keys = [(part, *key) for key in zip(batch.sets, batch.ids, batch.views, strict=True)]
        for index, key in enumerate(keys):
            if key not in self._kept:
                self._kept[key] = _on_cpu(compute(batch.one(index)))
        answers = [self._kept[key] for key in keys]
        device, most = batch.image.device, max(answer.clicks.valid.shape[1] for answer in answers)
        enhanced, token = _joined([(a.objects.enhanced, a.objects.token) for a in answers], device)
        bases = [answer.objects.base for answer in answers if answer.objects.base is not None]
        return FrozenAnswer(
            ObjectFeatures(enhanced, token, torch.cat(bases).to(device) if bases else None),
            Prediction(*_joined([(a.prediction.low_res, a.prediction.high_res) for a in answers], device)),
            Clicks.joined([answer.clicks.padded(most) for answer in answers]).to(device),
        )


def _joined(columns: list[tuple[Tensor, Tensor]], device: torch.device) -> list[Tensor]:
    return [torch.cat(column).to(device) for column in zip(*columns, strict=True)]


def _on_cpu(answer: FrozenAnswer) -> FrozenAnswer:
    objects, prediction = answer.objects, answer.prediction
    enhanced, token, low_res, high_res = (
        value.to("cpu", copy=True)
        for value in (objects.enhanced, objects.token, prediction.low_res, prediction.high_res)
    )
    base = None if objects.base is None else low_res  # they are the same logits
    return FrozenAnswer(
        ObjectFeatures(enhanced, token, base), Prediction(low_res, high_res), answer.clicks.to("cpu")
    )
