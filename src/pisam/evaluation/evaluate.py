"""Masks scored image by image, by the code that scores in training: of models, or of any model's folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pisam.core.terminal import progress
from pisam.core.types import Batch, BoolArray
from pisam.data.reading.reader import binarise, read_coverage
from pisam.evaluation.models import NativeSam
from pisam.evaluation.parallel import bounded_map
from pisam.evaluation.predictions import (
    are_binary,
    check_prediction_size,
    match_predictions,
    read_prediction,
    refuse_nonsense,
)
from pisam.evaluation.results import (
    SCORING,
    ScoredImage,
    begin_results,
    refuse_foreign_folder,
    write_results,
    write_tables,
)
from pisam.metrics.image_scores import score_image
from pisam.metrics.protocol import levels_at_original, versions
from pisam.modeling.segmenters import Segmenter, first_answers

Levels = npt.NDArray[np.uint8]
Keep = Callable[[str, str, str, Levels], None]
Original = Callable[[str, str], npt.NDArray[np.uint8]]


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


log = logging.getLogger(__name__)


def rescore_folder(
    predictions: Path,
    masks: Path,
    out: Path,
    *,
    name: str,
    set_name: str,
    workers: int = 0,
    ignore: int | None = None,
) -> dict[str, Any]:
    """Score predicted masks (8-bit, same stems, original size) as our own are; returns the summary.

    Writes `per_image.csv`, `table.md`, `table.tex` and, last, `summary.json` to `out`, a new folder or one of
    an earlier evaluation, which is replaced. `name` is the model's in tables; under a known `set_name` they
    have its published figures; `ignore` is as in `read_mask`; 0 `workers` are this process.

    Raises:
        PisamError: missing or extra files, wrong sizes, unreadable files; named.
    """
    matched = match_predictions(predictions, masks)
    refuse_foreign_folder(out, key="out")
    binary = are_binary(path for _, path, _ in matched)
    if binary:
        log.warning("%s: no value exceeds 1 in any file, so they are read as 0/1 masks", predictions)
    levels = "0/1 masks" if binary else "8-bit levels as the files hold them"
    protocol = {**SCORING, "predictions": levels, "ignored mask value": ignore, **versions()}
    facts = {"name": name, "predictions": str(predictions), "masks": str(masks), "protocol": protocol}
    begin_results(out, facts, len(matched))
    score = partial(_score_files, binary=binary, ignore=ignore)
    jobs = ((name, set_name, stem, predicted, mask) for stem, predicted, mask in matched)
    images: list[ScoredImage] = []
    try:
        with progress(len(matched), f"evaluate {name}") as bar:
            for image in bounded_map(score, jobs, workers):
                images.append(image)
                bar.update()
    finally:
        summary = write_results(out, images, facts, expected=len(matched))
    write_tables(out, {name: summary})
    return summary


def _score_files(
    name: str, set_name: str, stem: str, predicted: Path, mask: Path, *, binary: bool, ignore: int | None
) -> ScoredImage:
    levels, (coverage, ignored) = read_prediction(predicted), read_coverage(mask, ignore)
    true = binarise(coverage, mask)
    check_prediction_size(levels, predicted, true, mask)
    levels = levels * np.uint8(255) if binary else levels
    return ScoredImage(name, set_name, stem, score_image(levels, true, ignored=ignored))
