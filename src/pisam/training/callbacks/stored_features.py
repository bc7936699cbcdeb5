"""Frozen networks' features of each augmented view, kept on disk where views return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from pisam.core.types import Batch, ObjectFeatures, Prediction, Prompts
from pisam.training.callbacks.feature_store import FeatureStore

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


Compute = Callable[[Tensor, Tensor, Prompts | None], tuple[ObjectFeatures, Prediction]]


class StoredFeatures:
    """Object features of a batch and the mask before any click, from a store of `object_layout`."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store

    def __call__(self, batch: Batch, part: str, compute: Compute) -> tuple[ObjectFeatures, Prediction]:
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
    """Fills `batch.encoded` of stage 1 from a store of `encoder_layout` before each step.

    Args:
        store: keeps the records.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store = store

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        with trainer.precision_plugin.forward_context():
            self.fill(batch, "train", pl_module.model.encode)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
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
