"""Straight-forward masks scored image by image, with the code that scores them in training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pisam.core.types import Batch, BoolArray
from pisam.evaluation.models import NativeSam
from pisam.evaluation.parallel import bounded_map
from pisam.evaluation.predictions import refuse_nonsense
from pisam.metrics.image_scores import ImageScores, score_image
from pisam.metrics.levels import levels_at_original
from pisam.modeling.segmenters import Segmenter, first_answers

Levels = npt.NDArray[np.uint8]
Keep = Callable[[str, str, str, Levels], None]
Original = Callable[[str, str], npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class ScoredImage:
    """The scores of one model's answer to one image.

    Attributes:
        model: name of the segmenter.
        set: name of the data set.
        image: its id within the set.
        scores: at original size.
    """

    model: str
    set: str
    image: str
    scores: ImageScores


def evaluate_segmenters(
    segmenters: Sequence[Segmenter | NativeSam],
    batches: Iterable[Batch],
    *,
    original: Original | None = None,
    workers: int = 0,
    keep: Keep | None = None,
) -> Iterator[ScoredImage]:
    """All scores of every segmenter's answer to the box, image by image.

    Args:
        segmenters: in evaluation mode, on the batches' device.
        batches: of validation samples with their original masks.
        original: gives the image of (set, image) as its file holds it; for `NativeSam`.
        workers: processes that score beside the network, 0 = none.
        keep: called with (model, set, image, levels) of each answer before it is scored.

    Raises:
        PisamError: an answer is not a number; names model and image.
    """
    return bounded_map(_score, _answers(segmenters, batches, original, keep), workers)


def _answers(
    models: Sequence[Segmenter | NativeSam],
    batches: Iterable[Batch],
    original: Original | None,
    keep: Keep | None,
) -> Iterator[tuple[str, str, str, Levels, BoolArray, BoolArray | None]]:
    segmenters = [model for model in models if not isinstance(model, NativeSam)]
    for batch in batches:
        with torch.inference_mode():
            states = iter(first_answers(segmenters, batch.image, batch.box))
        for model in models:
            if isinstance(model, NativeSam):
                assert original is not None
                logits = (model.answer(original(*n), m) for n, m in _named(batch))
            else:
                logits = iter(next(states).logits)
            for index, (answer, (name, mask)) in enumerate(zip(logits, _named(batch), strict=True)):
                refuse_nonsense(answer, model.name, "/".join(name))
                levels = levels_at_original(answer, mask)
                if keep is not None:
                    keep(model.name, *name, levels)
                left_out = batch.ignored_at(index)
                ignored = None if left_out is None else left_out.cpu().numpy()
                yield model.name, *name, levels, mask.cpu().numpy(), ignored


def _named(batch: Batch) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """((set, image), mask at original size) of each sample."""
    yield from zip(zip(batch.sets, batch.ids, strict=True), batch.original_masks, strict=True)


def _score(
    model: str, set_name: str, image: str, levels: Levels, mask: BoolArray, ignored: BoolArray | None
) -> ScoredImage:
    return ScoredImage(model, set_name, image, score_image(levels, mask, ignored=ignored))
