"""The models that an interaction benchmark compares, the uses that get rows, and first answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pisam.core.types import Batch
from pisam.evaluation.predictions import refuse_nonsense
from pisam.metrics.protocol import logits_to_levels
from pisam.modeling.hq_sam import HqSam
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_network import SamNetwork
from pisam.modeling.sam_segmenters import HqSamSegmenter, SamSegmenter
from pisam.modeling.segmenters import PiSamSegmenter, Segmenter, State, first_answers
from pisam.predictor.predictor import TorchEngine
from pisam.predictor.session import Answer, SeenImage


@dataclass
class BenchmarkModels:
    """The models that take part."""

    pi: PiSam  # the network that is clicked on its own errors
    asked: list[Segmenter]  # SAM, HQ-SAM where there is one, and last Pi-SAM; their common error is clicked
    # SAM and HQ-SAM given their previous mask too, by the names of those of `asked` whose answer to a box is
    # theirs
    with_mask: dict[str, Segmenter]
    # Pi-SAM whose decoder is asked again after each click, where it was trained for that
    again: PiSamSegmenter | None

    @classmethod
    def of(cls, networks: dict[str, SamNetwork]) -> BenchmarkModels:
        pi, hq = networks["pi"], networks.get("hq")
        assert isinstance(pi, PiSam)
        asked: list[Segmenter] = [SamSegmenter(pi)]
        with_mask: dict[str, Segmenter] = {"SAM": SamSegmenter(pi, "SAM+mask", mask_input=True)}
        if isinstance(hq, HqSam):
            asked.append(HqSamSegmenter(hq))
            with_mask["HQ-SAM"] = HqSamSegmenter(hq, "HQ-SAM+mask", mask_input=True)
        again = PiSamSegmenter(pi, "Pi-SAM+reprompt", reprompt=True)
        trained = PiSamSegmenter(pi).reprompt
        return cls(pi, [*asked, PiSamSegmenter(pi, reprompt=False)], with_mask, again if trained else None)

    def benchmarked(self, firsts: Mapping[str, Answer]) -> dict[str, Answer]:
        """The answers to a box from which the benchmark clicks, by the names of its rows.

        The strongest form of each model stands there with the guarantee too.
        """
        rows = dict(firsts)
        rows |= {
            segmenter.name: replace(firsts[name], engine=TorchEngine(segmenter))
            for name, segmenter in self.with_mask.items()
        }
        strongest = {name: rows[name] for name in rows if name.endswith("+mask")}
        uses = self.used(firsts)
        return {**rows, **{_guaranteed(n): replace(a, guarantee=True) for n, a in strongest.items()}, **uses}

    def used(self, firsts: Mapping[str, Answer]) -> dict[str, Answer]:
        """Pi-SAM's answer to a box in each use: the interactor alone, as in the paper, comes first."""
        pi = firsts["Pi-SAM"]
        uses = {"Pi-SAM": pi}
        if self.again:
            uses[self.again.name] = replace(pi, engine=TorchEngine(self.again))
        last, answer = list(uses.items())[-1]
        return {**uses, _guaranteed(last): replace(answer, guarantee=True)}


def _guaranteed(name: str) -> str:
    return f"{name}+guarantee"


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
