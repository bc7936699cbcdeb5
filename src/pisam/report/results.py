"""Results of `pisam interact` and `pisam evaluate` in a run, checked to be of one run and of its weights.

A page that mixes two runs looks like any other, so everything that can tell them apart is compared: the
clicks with their hash, the images and models of every table, and later each mask with its score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pisam.core.checks import POOLED
from pisam.core.errors import PisamError
from pisam.core.files import read_object
from pisam.evaluation.interaction.click_file import ClickFile, clicks_hash, read_clicks
from pisam.evaluation.rows import RENAMED, Row, column_mean, groups_by, read_csv

AGAIN = "run `pisam interact EXPERIMENT`"
ROUNDING = 1e-5  # of scores in a table
MORE = "+"  # in the name of a model before what else it is given


@dataclass(frozen=True)
class Interaction:
    """The results of a benchmark."""

    folder: Path  # where they lie
    summary: dict[str, Any]  # of `summary.json`
    rows: list[Row]  # of `per_image.csv`
    curves: list[Row]  # of `curves.csv`
    clicks: ClickFile  # the images, largest common error first, and their clicks

    @property
    def models(self) -> list[str]:
        """In the order of the tables."""
        return list(self.summary["benchmark"]["models"])

    @property
    def plain_models(self) -> list[str]:
        """Those that are given clicks alone: SAM, HQ-SAM where there is one, Pi-SAM."""
        return [model for model in self.models if MORE not in model]

    @property
    def given(self) -> int:
        """Number of an image's clicks between before and after."""
        return int(self.summary["benchmark"]["settings"]["interact.clicks"])

    @property
    def complete(self) -> bool:
        """True where it has as many images as were asked for."""
        return bool(self.summary["benchmark"]["complete"])


def read_interaction(folder: Path) -> Interaction:
    """The results below RUN_DIR/interact.

    Raises:
        PisamError: none there, unfinished, unreadable, or files of several runs.
    """
    path = folder / "summary.json"
    if not path.is_file():
        raise PisamError(f"report: no results in {folder}; {AGAIN} first")
    summary = read_summary(path)
    if summary.get("status") != "complete":
        raise PisamError(f"report: the results in {folder} are unfinished; {AGAIN} to its end first")
    clicks = read_clicks(folder / "clicks.json")
    rows, curves = read_csv(folder / "per_image.csv"), read_csv(folder / "curves.csv", ("model", "set"))
    results = Interaction(folder, summary, rows, curves, clicks)
    try:
        _refuse_unlike_files(results)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise PisamError(
            f"report: {folder} holds no results of this version ({error!r}); {AGAIN} again"
        ) from error
    return results


def read_summary(path: Path) -> dict[str, Any]:
    """A `summary.json`; raises PisamError: not readable as one."""
    return _renamed(read_object(path, "report: "))


def _renamed(content: Any) -> Any:
    """Keys of earlier versions under today's names."""
    if not isinstance(content, dict):
        return content
    return {RENAMED.get(key, key): _renamed(value) for key, value in content.items()}


def _refuse_unlike_files(results: Interaction) -> None:
    """Raises PisamError where files are of different runs, KeyError or the like where a part is missing."""
    models, images = results.models, results.clicks.images
    rows = sorted((row["set"], row["image"], row["model"]) for row in results.rows)
    expected = sorted((image.set, image.image, model) for image in images for model in models)
    checks = {
        "clicks.json": clicks_hash(results.clicks) == results.summary["protocol"]["clicks_hash"],
        "per_image.csv": rows == expected and all(_are_stated_means(results, model) for model in models),
        "curves.csv": {row["model"] for row in results.curves} == {*models},
    }
    for name, fits in checks.items():
        if not fits:
            raise PisamError(
                f"report: {results.folder} mixes results of several runs: {name} is not of the run that "
                f"summary.json tells of; {AGAIN} again"
            )


def _are_stated_means(results: Interaction, model: str) -> bool:
    """True where each mean of a model that the summary states is that of its rows, of all and of each set."""
    rows = [row for row in results.rows if row["model"] == model]
    means, of_sets = results.summary["benchmark"]["models"][model], groups_by(rows, "set")
    stated_of_sets = [(means["sets"][name], group) for name, group in of_sets.items()]
    return of_sets.keys() == means["sets"].keys() and all(
        _is_stated(stated[column], group, column)
        for stated, group in [(means[POOLED], rows), *stated_of_sets]
        for column in rows[0]
        if column in stated and column != "oracle_share"  # which is that of the mean gain
    )


def _is_stated(stated: float | None, rows: list[Row], column: str) -> bool:
    mean = column_mean(rows, column)
    if mean is None or stated is None:
        return mean is stated
    failed = column.startswith("nof_")  # stated as a number of images
    return abs(mean * (len(rows) if failed else 1) - stated) < ROUNDING


RESCORE = "run `pisam evaluate EXPERIMENT` again"
SAME_IOU = 0.005  # of the same weights on another device or at another precision

Key = tuple[str, str]


@dataclass(frozen=True)
class Evaluation:
    """One model of an evaluation."""

    folder: Path  # where its results lie
    model: str  # its name
    summary: dict[str, Any]  # of its `summary.json`
    iou: dict[Key, float]  # of every image it was scored on

    @property
    def complete(self) -> bool:
        """True where all images were scored."""
        return self.summary.get("status") == "complete"


def read_evaluations(folder: Path) -> list[Evaluation]:
    """The models scored below RUN_DIR/evaluate, none where nothing was; unfinished ones without scores.

    Raises:
        PisamError: unreadable.
    """
    path = folder / "summary.json"
    if not path.is_file():
        return []
    summary = read_summary(path)
    if "models" not in summary:
        summaries = {str(summary.get("model", "several models")): summary}
        folders = dict.fromkeys(summaries, folder)
    else:
        summaries = summary["models"]
        if not isinstance(summaries, dict) or not all(isinstance(one, dict) for one in summaries.values()):
            raise PisamError(f"report: {path}: models: expected a summary of each; {RESCORE}")
        of_models = [(sub.parent, read_summary(sub)) for sub in sorted(folder.glob("*/summary.json"))]
        folders = {
            name: where for name, one in summaries.items() for where, other in of_models if one == other
        }
    if missing := sorted(summaries.keys() - folders.keys()):
        raise PisamError(f"report: {folder} has no scores of its own for {missing[0]}; {RESCORE}")
    return [_evaluation(folders[name], name, one) for name, one in summaries.items()]


def refuse_mixed(interaction: Interaction, evaluations: Sequence[Evaluation]) -> None:
    """Refuse evaluations of other weights than were clicked.

    The weights of Pi-SAM's stage 1 and stage 2 have different hashes and the same masks of a box, hence the
    comparison by score.

    Raises:
        PisamError: names the model and what differs.
    """
    clicked: dict[str, dict[Key, float]] = {}
    for row in interaction.rows:
        of_model = clicked.setdefault(str(row["model"]), {})
        of_model[str(row["set"]), str(row["image"])] = float(row["iou_before"])
    for evaluation in evaluations:
        if evaluation.complete and evaluation.model in clicked:
            unlike = _other_weights(evaluation, interaction) or _other_scores(
                evaluation, clicked[evaluation.model]
            )
            if unlike:
                raise PisamError(
                    f"report: {evaluation.folder} scored another {evaluation.model} than "
                    f"{interaction.folder} clicked: {unlike}; {RESCORE} with the same checkpoints, or move "
                    "that folder away"
                )


def _other_weights(evaluation: Evaluation, interaction: Interaction) -> str | None:
    """The first hash that differs, with both values."""
    here, there = evaluation.summary, interaction.summary
    hashes = {"frozen_hash": (here.get("frozen_hash"), there.get("frozen_hash"))}
    if evaluation.model == "HQ-SAM":
        hashes["checkpoint_hash"] = (here["protocol"]["checkpoint_hash"], there["hq"]["checkpoint_hash"])
    return next((f"{name} {a!s:.12} and {b!s:.12}" for name, (a, b) in hashes.items() if a != b), None)


def _other_scores(evaluation: Evaluation, clicked: Mapping[Key, float]) -> str | None:
    """The first image whose IoU before any click differs, with both values."""
    return next(
        (
            f"IoU {iou:.3f} and {clicked[key]:.3f} on {'/'.join(key)}"
            for key, iou in evaluation.iou.items()
            if key in clicked and abs(iou - clicked[key]) > SAME_IOU
        ),
        None,
    )


def _evaluation(folder: Path, model: str, summary: dict[str, Any]) -> Evaluation:
    complete = summary.get("status") == "complete"
    if complete and not all(isinstance(summary.get(key), dict) for key in (POOLED, "sets", "protocol")):
        raise PisamError(f"report: {folder} holds no scores of this version; {RESCORE}")
    rows = read_csv(folder / "per_image.csv") if complete else []
    return Evaluation(
        folder, model, summary, {(str(row["set"]), str(row["image"])): float(row["iou"]) for row in rows}
    )
