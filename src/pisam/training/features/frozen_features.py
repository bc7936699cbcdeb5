"""Frozen features of each augmented view, where views return: kept in memory or on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from pisam.core.types import Batch, Clicks, ObjectFeatures, Prediction, Prompts
from pisam.training.features.feature_store import FeatureStore, Key
from pisam.training.stages.interactor_stage import FrozenAnswer

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


SAM_CHANNELS = 256


def object_layout(image_size: int, *, half: bool) -> np.dtype:
    """A record of stage 2: O, T, the mask before any click as bits; 4.3 MB at S = 1024 where `half`.

    Args:
        image_size: side S of the frame.
        half: features in bfloat16, for runs of mixed precision.
    """
    number, side = "<i2" if half else "<f4", image_size // 4
    mask = ("mask", "u1", (image_size**2 // 8,))
    return np.dtype([("enhanced", number, (32, side, side)), ("token", number, (32,)), mask])


def encoder_layout(image_size: int, early_dim: int, *, half: bool) -> np.dtype:
    """A record of stage 1: SAM's image embedding and its early feature."""
    number, side = "<i2" if half else "<f4", image_size // 16
    embedding = ("image_embedding", number, (SAM_CHANNELS, side, side))
    return np.dtype([embedding, ("early", number, (early_dim, side, side))])


AnswerOne = Callable[[Tensor, Tensor, Prompts | None], tuple[ObjectFeatures, Prediction]]


class StoredFeatures:
    """Object features of a batch and the mask before any click, from a store of `object_layout`."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store

    def __call__(self, batch: Batch, part: str, compute: AnswerOne) -> tuple[ObjectFeatures, Prediction]:
        """Only views that are not known are computed; arguments as in `FrozenFeatures`.

        Returns:
            the features; and as the prediction its signs alone, high_res = 1 or -1 and low_res = NaN.
        """

        def answer(index: int) -> dict[str, Tensor]:
            prompts = None if batch.prompts is None else batch.prompts.select([index])
            objects, prediction = compute(batch.image[[index]], batch.box[[index]], prompts)
            mask = (prediction.high_res > 0).flatten(1)
            return {"enhanced": objects.enhanced, "token": objects.token, "mask": mask}

        records = _records(self.store, batch, part, answer)
        device, side = batch.image.device, batch.image.shape[-1]
        enhanced, token = (_stack(records, name).to(device) for name in ("enhanced", "token"))
        enhanced = enhanced.contiguous(memory_format=torch.channels_last)  # as the network lays it out
        bits = np.stack([np.unpackbits(record["mask"], count=side**2) for record in records])
        signs = torch.from_numpy(bits).to(device).view(-1, 1, side, side).float() * 2 - 1
        unknown = torch.full((len(records), 1, *enhanced.shape[-2:]), torch.nan, device=device)
        return ObjectFeatures(enhanced, token), Prediction(unknown, signs)


class StoredEncodings(Callback):
    """Fills `batch.encoded` of stage 1 from a store of `encoder_layout` before each step."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Batch, *_: Any) -> None:
        with trainer.precision_plugin.forward_context():
            self.fill(batch, "train", pl_module.model.encode)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Any, batch: Batch, *_: Any) -> None:
        with trainer.precision_plugin.forward_context():
            self.fill(batch, "val", pl_module.model.encode)

    def fill(self, batch: Batch, part: str, encode: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        """Take from the store what is there, and compute and keep the rest."""

        def answer(index: int) -> dict[str, Tensor]:
            embedding, early = encode(batch.image[[index]])
            return {"image_embedding": embedding, "early": early}

        records = _records(self.store, batch, part, answer)
        embedding, early = (
            _stack(records, name).to(batch.image.device) for name in ("image_embedding", "early")
        )
        batch.encoded = embedding, early


def _records(
    store: FeatureStore, batch: Batch, part: str, answer: Callable[[int], Mapping[str, Tensor]]
) -> list[npt.NDArray[Any]]:
    """The records of a batch, each answered by itself, so that a result does not depend on its company."""
    records = []
    for index, key in enumerate(zip(batch.sets, batch.ids, batch.views, strict=True)):
        record = store.read((part, *key))
        if record is None:
            # As it will be read: the first epoch sees the same digits as all others.
            record = np.zeros((), dtype=store.layout)
            for name, value in answer(index).items():
                record[name] = _to_numpy(value[0], store.layout[name].base)
            store.write((part, *key), record)
        records.append(record)
    return records


def _to_numpy(value: Tensor, number: np.dtype) -> npt.NDArray[Any]:
    if value.dtype == torch.bool:
        return np.packbits(value.cpu().numpy())
    if number == np.int16:
        return value.to("cpu", torch.bfloat16).view(torch.int16).numpy()
    return value.to("cpu", torch.float32).numpy()


def _stack(records: list[npt.NDArray[Any]], name: str) -> Tensor:
    stacked = torch.from_numpy(np.stack([record[name] for record in records]))
    return stacked.view(torch.bfloat16).float() if stacked.dtype == torch.int16 else stacked
