"""What models say of boxes, asked once an image although several measurements start from it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pisam.core.types import Batch
from pisam.modeling.segmenters import Segmenter, State, first_answers, refuse_nonsense

MEMORY = 2**31  # bytes of the devices' memory; what does not fit is asked again


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

    def of(self, batch: Batch) -> list[State]:
        """The answers to the box of one image, in the order of the segmenters.

        Raises:
            ValueError: a batch of several samples.
            PisamError: an answer is not a number; names model and image.
        """
        if len(batch) != 1:
            raise ValueError(f"expected batches of one image, got {len(batch)}")
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
    """Of all tensors, each counted once."""
    parts = [
        value
        for state in states
        for part in (state, state.encoded, state.objects)
        if part is not None
        for value in vars(part).values()
    ]
    tensors = {id(value): value for value in parts if isinstance(value, Tensor)}
    return sum(tensor.nbytes for tensor in tensors.values())
