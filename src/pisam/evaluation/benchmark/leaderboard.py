"""Interaction files side by side: which may be compared, their scores, and ranks with their uncertainty."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pisam.core.errors import PisamError
from pisam.evaluation.benchmark.interaction_file import read_interaction
from pisam.evaluation.benchmark.record import CONTROLS, Interaction
from pisam.metrics.number_of_clicks import (
    TARGETS,
    area_under_curve,
    clicks_needed,
    curves_of,
    nof,
    seconds_per_click,
)

RESAMPLES = 2000
CONFIDENCE = 0.95
FIGURE_AFTER = 5  # clicks of 5-mIoU
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LeftOut:
    """A file that is in no table, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Ranked:
    """One score of the models of a table."""

    score: str  # its name
    lower: bool  # True where less is better
    values: Array  # (models, images)
    means: Array  # (models,)
    # low, high: (models,), 95 % bootstrap interval of the mean over images
    low: Array
    high: Array
    ranks: npt.NDArray[np.int64]  # (models,), 1 = best; equal means share one
    # best, worst: (models,), 95 % interval of the rank, over the same draws of images for all models
    best: npt.NDArray[np.int64]
    worst: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """Models that were asked alike about the same images."""

    protocol: dict[str, Any]  # its plain facts
    id: str  # its short name
    digest: str
    images: list[tuple[str, str]]  # (set, image) of each
    names: list[str]  # of the models, unique
    files: list[str]  # of each model
    failures: dict[int, npt.NDArray[np.int64]]  # NoF by target, (models,) each
    scores: dict[str, Ranked]  # ranked scores by name
    # their means over the images that have them, (models,) each; NaN where none has
    controls: dict[str, Array]
    seconds: Array  # a click, (models,)


def read_files(paths: Iterable[Path]) -> tuple[list[tuple[Path, Interaction]], list[LeftOut]]:
    """The files, and those of folders; what is no complete interaction file of a folder is left out by name.

    Raises:
        PisamError: a file that was named itself cannot be read; nothing can.
    """
    read: dict[Path, Interaction] = {}
    left_out: list[LeftOut] = []
    named = list(paths)
    for path in named:
        if not path.is_dir():
            read[path.resolve()] = _scores_alone(read_interaction(path))
            continue
        for file in sorted(path.glob("*")):
            if file.is_dir() and file not in named and (number := sum(map(_is_json, file.rglob("*")))):
                left_out.append(LeftOut(file.name, f"a folder of {number} *.json below {path}; name it, too"))
            if file.is_dir() or not _is_json(file):
                continue
            try:
                read[file.resolve()] = _scores_alone(read_interaction(file))
            except PisamError as error:
                left_out.append(LeftOut(file.name, str(error).removeprefix(f"{file}: ")))
    if not read:
        raise PisamError("leaderboard: no interaction file; give files or folders that pisam benchmark wrote")
    for path, record in list(read.items()):
        if record.status != "complete":
            del read[path]
            left_out.append(LeftOut(path.name, _why_partial(record)))
    return list(read.items()), left_out


def tables_of(files: Sequence[tuple[Path, Interaction]]) -> list[Table]:
    """A table per protocol and list of images, largest first, of what `read_files` gave."""
    groups: dict[tuple[str, str], list[tuple[Path, Interaction]]] = {}
    for path, record in files:
        groups.setdefault((record.protocol.hash, _digest(record)), []).append((path, record))
    tables = [_table(group, digest) for (_, digest), group in groups.items()]
    return sorted(tables, key=lambda table: (-len(table.names), table.id, table.digest))


def curves(record: Interaction) -> tuple[Array, int]:
    """IoU by clicks (N, K), and how many clicks the first column is after: 0 where there is a box."""
    if record.protocol.prompt == "box":
        rows = [[image.start[0], *image.iou] for image in record.images if image.start]
        return curves_of(rows, record.protocol.clicks + 1), 0
    return curves_of([image.iou for image in record.images], record.protocol.clicks), 1


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _table(group: Sequence[tuple[Path, Interaction]], digest: str) -> Table:
    records = []
    for _, record in group:
        record.images.sort(key=lambda image: (image.set, image.image))
        records.append(record)
    protocol = records[0].protocol
    draws = _draws(len(records[0].images))
    values: dict[str, list[Array]] = {}
    failures: dict[int, list[int]] = {target: [] for target in TARGETS}
    for record in records:
        ious, first = curves(record)
        for target in TARGETS:
            needed = clicks_needed(ious, target / 100, first=first)
            values.setdefault(f"noc_{target}", []).append(needed.astype(np.float64))
            failures[target].append(nof(ious, target / 100))
        last = first + ious.shape[1] - 1
        for clicks in sorted({min(FIGURE_AFTER, last), last}):
            values.setdefault(f"iou_{clicks}", []).append(ious[:, clicks - first])
        values.setdefault("auc", []).append(area_under_curve(ious))
    return Table(
        protocol=protocol.facts(),
        id=protocol.id,
        digest=digest,
        images=[(image.set, image.image) for image in records[0].images],
        names=_unique([record.name for record in records], [path.stem for path, _ in group]),
        files=[path.name for path, _ in group],
        failures={target: np.array(counts) for target, counts in failures.items()},
        scores={score: _rank(score, np.stack(rows), draws) for score, rows in values.items()},
        controls={name: np.array([_control(record, name) for record in records]) for name in CONTROLS},
        seconds=np.array(
            [seconds_per_click([image.seconds for image in each.images]) for each in records], np.float64
        ),
    )


def _draws(images: int) -> Array:
    """Share of each resample that is each image: (RESAMPLES, images)."""
    rng = np.random.default_rng(0)
    return rng.multinomial(images, np.full(images, 1 / images), size=RESAMPLES) / images


def _rank(score: str, values: Array, draws: Array) -> Ranked:
    lower = score.startswith("noc")
    sign = 1 if lower else -1
    means = values.mean(axis=1)
    resampled = draws @ values.T
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(resampled, tails, axis=0)
    ranks = np.stack([_ranks(sign * row) for row in resampled])
    best, worst = np.quantile(ranks, tails, axis=0, method="nearest").astype(np.int64)
    return Ranked(score, lower, values, means, low, high, _ranks(sign * means), best, worst)


def _ranks(values: Array) -> npt.NDArray[np.int64]:
    """1 + the number of smaller values, of each; what differs by rounding alone is equal."""
    return 1 + (values[None, :] < values[:, None] - 1e-12).sum(axis=1)


def _scores_alone(record: Interaction) -> Interaction:
    """Without what no table needs: many large files stay below a gigabyte."""
    record.images = [replace(image, clicks=(), biou=()) for image in record.images]
    return record


def _digest(record: Interaction) -> str:
    rows = sorted(
        f"{image.set}\0{image.image}\0{image.sha256}\0{image.mask_sha256}"
        + (f"\0ignore {record.ignore[image.set]}" if image.set in record.ignore else "")
        for image in record.images
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _why_partial(record: Interaction) -> str:
    whole = sum(record.sets.values())
    reasons = "; ".join(f"{each.set}/{each.image}: {each.reason}" for each in record.failed[:3])
    more = " ..." if len(record.failed) > 3 else ""
    return f"{record.name}: {len(record.images)} of {whole} images" + (
        f"; {reasons}{more}" if reasons else ""
    )


def _unique(names: Sequence[str], stems: Sequence[str]) -> list[str]:
    return [
        name if names.count(name) == 1 else f"{name} ({stem}, {index + 1})"
        for index, (name, stem) in enumerate(zip(names, stems, strict=True))
    ]


def _control(record: Interaction, name: str) -> float:
    values = [image.controls[name] for image in record.images if name in image.controls]
    return float(np.mean(values)) if values else float("nan")
