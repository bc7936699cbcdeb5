"""Results of `pisam evaluate` in a run, checked to be of the weights that were clicked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pisam.core.checks import POOLED
from pisam.core.errors import PisamError
from pisam.evaluation.rows import read_csv
from pisam.report.results import Interaction, read_summary

AGAIN = "run `pisam evaluate EXPERIMENT` again"
SAME_IOU = 0.005  # of the same weights on another device or at another precision

Key = tuple[str, str]


@dataclass(frozen=True)
class Evaluation:
    """One model of an evaluation.

    Attributes:
        folder: where its results lie.
        model: its name.
        summary: of its `summary.json`.
        iou: of every image it was scored on.
    """

    folder: Path
    model: str
    summary: dict[str, Any]
    iou: dict[Key, float]

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
            raise PisamError(f"report: {path}: models: expected a summary of each; {AGAIN}")
        of_models = [(sub.parent, read_summary(sub)) for sub in sorted(folder.glob("*/summary.json"))]
        folders = {
            name: where for name, one in summaries.items() for where, other in of_models if one == other
        }
    if missing := sorted(summaries.keys() - folders.keys()):
        raise PisamError(f"report: {folder} has no scores of its own for {missing[0]}; {AGAIN}")
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
                    f"{interaction.folder} clicked: {unlike}; {AGAIN} with the same checkpoints, or move "
                    "that folder away"
                )


def _other_weights(evaluation: Evaluation, interaction: Interaction) -> str | None:
    """The first hash that differs, with both values."""
    here, there = evaluation.summary, interaction.summary
    hashes = {"frozen_hash": (here.get("frozen_hash"), there.get("frozen_hash"))}
    if evaluation.model == "HQ-SAM":
        hashes["checkpoint_hash"] = (
            here["protocol"]["checkpoint_hash"],
            there["hq"]["checkpoint_hash"],
        )
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
        raise PisamError(f"report: {folder} holds no scores of this version; {AGAIN}")
    rows = read_csv(folder / "per_image.csv") if complete else []
    return Evaluation(
        folder, model, summary, {(str(row["set"]), str(row["image"])): float(row["iou"]) for row in rows}
    )
