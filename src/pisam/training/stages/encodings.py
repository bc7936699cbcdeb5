"""A cache of SAM's encodings of each augmented view, where views return."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pisam.core.types import Batch

Key = tuple[bool, str, str, int]


class Encodings:
    """Keeps image embedding and early feature per view in main memory; under autocast in half precision."""

    def __init__(self) -> None:
        self.kept: dict[Key, tuple[Tensor, ...]] = {}

    def __call__(
        self, batch: Batch, training: bool, encode: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Image embeddings (B, 256, E, E) and early features (B, D, E, E); each view is encoded by itself.

        Args:
            batch: its `views` tell the augmented views of an image apart.
            training: views of training and of validation are kept apart.
            encode: uint8 images (B, 3, S, S) to both.
        """
        keys = [(training, *key) for key in zip(batch.sets, batch.ids, batch.views, strict=True)]
        device = batch.image.device
        kept_as = torch.float16 if torch.is_autocast_enabled(device.type) else torch.float32
        for index, key in enumerate(keys):
            if key not in self.kept:
                self.kept[key] = tuple(value.to("cpu", kept_as) for value in encode(batch.image[[index]]))
        embedding, early = zip(*(self.kept[key] for key in keys), strict=True)
        return torch.cat(embedding).to(device).float(), torch.cat(early).to(device).float()
