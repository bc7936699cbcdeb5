"""Two runs scored on the same images: is their difference more than chance?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from pisam.core.errors import PisamError
from pisam.core.files import read_object
from pisam.evaluation.rows import TEXTS, Row, TableLine, column_mean, read_csv, text_table

RESAMPLES = 10_000
DRAWN_AT_ONCE = 2**18  # values
CONFIDENCE = 0.95
# They differ between two models, not between two ways of scoring one.
OF_THE_MODEL = ("image_size", "resize", "checkpoint_hash", "hq_mask")
VERSIONS = ("torch", "lightning", "pisam")  # shown beside the table
NOT_SCORES = (*TEXTS, "click_seed")
REMEDIES = {"clicks_hash": "replay one's clicks with clicks=FILE in pisam interact"}

Key = tuple[str, str]
Scores = dict[str, dict[Key, float]]


@dataclass(frozen=True)
class Difference:
    """Difference of one score between two runs, over the images that both have a number for."""

    score: str  # the column of `per_image.csv`
    images: int  # their number
    a: float  # mean of the first run
    b: float  # mean of the second run
    # low, high: 95 % confidence interval of the mean of b - a, by a bootstrap over images (percentiles)
    low: float
    high: float
    p_value: float  # of Wilcoxon's signed-rank test that b - a is symmetric about 0; 1 where all are equal


def compare_runs(a: Path, b: Path) -> list[Difference]:
    """Every score that two runs share, image by image.

    Args:
        a, b: folders with `per_image.csv` and `summary.json` of `evaluate` or `interact`; where a file holds
            several models, as those of `interact` do, `MODEL iou_gain` is a score of its own. Several rows of
            an image count as their mean.

    Raises:
        PisamError: a folder without complete results, other images, or numbers made by unlike protocols.
    """
    _refuse_unlike(a, _protocol(a), b, _protocol(b))
    scores_a, scores_b = _read_scores(a), _read_scores(b)
    shared = [score for score in scores_a if score in scores_b]
    if not shared:
        raise PisamError(f"compare: {a} and {b} have no score in common")
    for score in shared:  # a model may lack images that another of its file has
        _refuse_other_images(a, b, {*scores_a[score]}, {*scores_b[score]})
    return [_difference(score, scores_a[score], scores_b[score]) for score in shared]


def version_differences(a: Path, b: Path) -> str:
    """The packages whose versions differ between two runs, with both; empty where none does."""
    one, other = _protocol(a), _protocol(b)
    unlike = [name for name in VERSIONS if one.get(name) != other.get(name)]
    return ", ".join(f"{name} {one.get(name)} and {other.get(name)}" for name in unlike)


def differences_table(differences: list[Difference]) -> str:
    """A line per score."""
    head = ["score", "images", "A", "B", "B - A", "95 % low", "high", "p (Wilcoxon)"]
    lines: list[TableLine] = [
        [d.score, d.images, d.a, d.b, d.b - d.a, d.low, d.high, f"{d.p_value:.2g}"] for d in differences
    ]
    return text_table([head, *lines])


def _difference(score: str, values_a: Mapping[Key, float], values_b: Mapping[Key, float]) -> Difference:
    both = np.array([(value, values_b[key]) for key, value in values_a.items()])
    both = both[~np.isnan(both).any(axis=1)]
    if len(both) == 0:
        none = math.nan
        return Difference(score, 0, a=none, b=none, low=none, high=none, p_value=none)
    gain = both[:, 1] - both[:, 0]
    low, high = bootstrap_interval(gain)
    p_value = float(stats.wilcoxon(gain).pvalue) if gain.any() else 1.0
    mean_a, mean_b = both.mean(axis=0).tolist()
    return Difference(score, len(both), mean_a, mean_b, low, high, p_value)


def bootstrap_interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of the mean of (N,) values over `RESAMPLES` draws of N with replacement."""
    rng, count = np.random.default_rng(0), len(values)
    # Some draws at a time: all of them at once would take gigabytes for a large set.
    at_once = math.ceil(DRAWN_AT_ONCE / count)
    sizes = [min(at_once, RESAMPLES - done) for done in range(0, RESAMPLES, at_once)]
    means = [values[rng.integers(count, size=(size, count))].mean(axis=1) for size in sizes]
    low, high = np.quantile(np.concatenate(means), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _protocol(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    if not path.is_file():
        raise PisamError(f"compare: {path} is not there; expected a folder that evaluate wrote")
    summary = read_object(path, "compare: ")
    if not isinstance(summary.get("protocol"), dict):
        raise PisamError(f"compare: {path} does not say by which protocol its numbers were made")
    if summary.get("status", "complete") != "complete":
        raise PisamError(f"compare: the results in {folder} are partial; run the evaluation to its end first")
    return dict(summary["protocol"])


def _refuse_unlike(a: Path, protocol_a: dict[str, Any], b: Path, protocol_b: dict[str, Any]) -> None:
    unlike = [
        f"{key} {protocol_a.get(key)!r} and {protocol_b.get(key)!r}"
        for key in sorted({*protocol_a, *protocol_b} - {*OF_THE_MODEL, *VERSIONS})
        if protocol_a.get(key) != protocol_b.get(key)
    ]
    if unlike:
        remedies = [REMEDIES[key] for key in REMEDIES if protocol_a.get(key) != protocol_b.get(key)]
        raise PisamError(
            f"compare: {a} and {b} were scored by unlike protocols: {'; '.join([*unlike, *remedies])}"
        )


def _refuse_other_images(a: Path, b: Path, images_a: set[Key], images_b: set[Key]) -> None:
    for here, there, more in ((a, b, images_a - images_b), (b, a, images_b - images_a)):
        if more:
            names = ", ".join("/".join(key) for key in sorted(more)[:3]) + (" ..." if len(more) > 3 else "")
            raise PisamError(f"compare: {len(more)} images of {here} are not in {there}: {names}")


def _read_scores(folder: Path) -> Scores:
    """Score -> (set, image) -> mean over the image's rows; scores in the order of models and columns."""
    rows = read_csv(folder / "per_image.csv")
    columns = [name for name in rows[0] if name not in NOT_SCORES]
    groups: dict[str, dict[Key, list[Row]]] = {}
    for row in rows:
        model = f"{row['model']} " if "model" in row else ""
        groups.setdefault(model, {}).setdefault((str(row["set"]), str(row["image"])), []).append(row)
    return {
        f"{model}{score}": {key: _mean(group, score) for key, group in images.items()}
        for model, images in groups.items()
        for score in columns
    }


def _mean(rows: list[Row], score: str) -> float:
    """Mean over the rows that have a number there; NaN where none has."""
    mean = column_mean(rows, score)
    return math.nan if mean is None else mean
