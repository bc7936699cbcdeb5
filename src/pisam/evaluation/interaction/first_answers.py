"""Answers of models to boxes, asked for once an image although several measurements start from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pisam.core.types import Batch
from pisam.evaluation.predictions import refuse_nonsense
from pisam.metrics.levels import logits_to_levels
from pisam.modeling.segmenters import Segmenter, State, first_answers
from pisam.predictor.session import Answer, SeenImage
from pisam.predictor.torch_engine import TorchEngine

MEMORY = 2**31  # bytes of the devices' memory; what does not fit is asked again


def as_answer(segmenter: Segmenter, state: State, batch: Batch, *, guarantee: bool = False) -> Answer:
    """A segmenter's answer to the box of a batch of one image, to be clicked on at the original size."""
    height, width = batch.original_masks[0].shape
    frame = batch.image[0].permute(1, 2, 0).cpu().numpy()
    image, ignored = SeenImage(frame, state.encoded, (height, width)), batch.ignored_at(0)
    left_out = None if ignored is None else ignored.cpu().numpy()
    return Answer(TorchEngine(segmenter), image, state, guarantee=guarantee, ignored=left_out)


def levels_of(answer: Answer) -> npt.NDArray[np.uint8]:
    """An answer as it is saved and scored: see `logits_to_levels`."""
    return logits_to_levels(torch.from_numpy(answer.logits()))


class FirstAnswers:
    """The first answers of segmenters, remembered as long as there is room.

    Args:
        segmenters: names unique.
        memory: bytes, on the device that the answers are on.
    """

    def __init__(self, segmenters: Sequence[Segmenter], memory: int = MEMORY) -> None:
        self.segmenters = segmenters
        self._room = memory
        self._known: dict[tuple[str, str], list[State]] = {}

    def of(self, batch: Batch) -> dict[str, Answer]:
        """The answers to the box of one image, by the segmenters' names in their order; without guarantee.

        Raises:
            ValueError: a batch of several samples.
            PisamError: an answer is not a number; names model and image.
        """
        if len(batch) != 1:
            raise ValueError(f"expected batches of one image, got {len(batch)}")
        states = self._states(batch)
        return {
            segmenter.name: as_answer(segmenter, state, batch)
            for segmenter, state in zip(self.segmenters, states, strict=True)
        }

    def _states(self, batch: Batch) -> list[State]:
        key = batch.sets[0], batch.ids[0]
        if key in self._known:
            return self._known[key]
        states = first_answers(self.segmenters, batch.image, batch.box)
        for segmenter, state in zip(self.segmenters, states, strict=True):
            refuse_nonsense(state.logits, segmenter.name, "/".join(key))
        size = _bytes(states)
        if size <= self._room:
            self._room -= size
            self._known[key] = states
        return states


def _bytes(states: Sequence[State]) -> int:
    """Bytes of all tensors, each counted once."""
    parts = [
        value
        for state in states
        for part in (state, state.encoded, state.objects)
        if part is not None
        for value in vars(part).values()
    ]
    tensors = {id(value): value for value in parts if isinstance(value, Tensor)}
    return sum(tensor.nbytes for tensor in tensors.values())
