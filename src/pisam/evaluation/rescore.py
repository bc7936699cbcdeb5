"""Scores of any model's predicted masks from a folder, without a model."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pisam.core.progress import progress
from pisam.data.reading.reader import binarise, read_coverage
from pisam.evaluation.evaluate import ScoredImage
from pisam.evaluation.parallel import bounded_map
from pisam.evaluation.predictions import (
    are_binary,
    check_prediction_size,
    match_predictions,
    read_prediction,
)
from pisam.evaluation.results import (
    SCORING,
    begin_results,
    refuse_foreign_folder,
    write_results,
    write_tables,
)
from pisam.metrics.image_scores import score_image
from pisam.metrics.protocol import versions

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

    Writes `per_image.csv`, `table.md`, `table.tex` and, last, `summary.json` to `out`.

    Args:
        predictions: folder of predictions.
        masks: folder of the true masks.
        out: new folder, or one of an earlier evaluation, which is replaced.
        name: of the model, in tables.
        set_name: of the data set; under a known name the table has its published figures.
        workers: processes, 0 = this one.
        ignore: the value of mask pixels that count for no score; see `read_mask`.

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
