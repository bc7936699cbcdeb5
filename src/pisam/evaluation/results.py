"""The files of an evaluation; they are marked complete last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pisam.core.checks import ALL_IMAGES, POOLED
from pisam.core.errors import PisamError
from pisam.core.files import read_object, replacing, write_json
from pisam.evaluation.published import LABELS, latex_table, markdown_table
from pisam.evaluation.rows import Row, TableLine, text_table, write_csv
from pisam.metrics.image_scores import ImageScores
from pisam.metrics.set_scores import SetScores

SCORING = {
    "predictions": "8-bit levels round(255 sigmoid(logit)) at original size",
    "object_above_level": 127,
    "normalisation": "min-max per image, but not for iou and biou",
    "max_f, max_e of a set": "best threshold of the mean curve of its images",
    "f_beta_squared": 0.3,
    "weighted_f_beta_squared": 1.0,
    "hce_gamma": 5,
    "over_sets": "mean of the sets",
}
"""Protocol of the way from predictions to numbers; the rest of a protocol tells how predictions were made."""

FILES = ("per_image.csv", "summary.json", "table.md", "table.tex")


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


def refuse_foreign_folder(folder: Path, *, key: str) -> None:
    """Refuse to write results among a user's files; an earlier evaluation may be replaced.

    Raises:
        PisamError: the folder holds something, and no summary of an evaluation.
    """
    if not folder.exists() or _is_evaluation(folder / "summary.json"):
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise PisamError(f"{key} {folder}: holds other files; choose a new folder")


def _is_evaluation(summary: Path) -> bool:
    """True of the summary of an evaluation, begun or complete, and of nothing else's."""
    try:
        content = read_object(summary, "")
    except PisamError:
        return False
    return "status" in content and "images" in content


def begin_results(folder: Path, facts: Mapping[str, Any], expected: int) -> None:
    """Mark a folder as partial, and remove the results of an earlier evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        {"status": "partial", "images": 0, "images_expected": expected, **facts}, folder / "summary.json"
    )
    for name in FILES:
        if name != "summary.json":
            (folder / name).unlink(missing_ok=True)


def write_results(
    folder: Path, images: Sequence[ScoredImage], facts: Mapping[str, Any], *, expected: int
) -> dict[str, Any]:
    """Write `per_image.csv` and then `summary.json` of one model; returns the summary.

    Args:
        folder: where `begin_results` was called.
        images: in the order of the rows; fewer than `expected` make a partial result.
        facts: what else belongs to the numbers, with the protocol.
        expected: number of images that were to be scored.
    """
    summary = {
        "status": "complete" if len(images) == expected else "partial",
        "images": len(images),
        "images_expected": expected,
        **facts,
        **summarise(images),
    }
    if images:
        write_csv([_row(image) for image in images], folder / "per_image.csv")
    write_json(summary, folder / "summary.json")
    return summary


def write_tables(folder: Path, summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """`table.md` and `table.tex` of all models beside the published figures."""
    for name, text in (("table.md", markdown_table(summaries)), ("table.tex", latex_table(summaries))):
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def summarise(images: Sequence[ScoredImage]) -> dict[str, Any]:
    """Scores of each set under `sets`, of all images under `pooled`, and over sets the means of the sets'."""
    if not images:
        return {POOLED: {"images": 0}, "sets": {}}
    counts: dict[str, int] = {}
    for image in images:
        counts[image.set] = counts.get(image.set, 0) + 1
    # All images are here already: on several ranks there is nothing left to reduce.
    scores = SetScores(list(counts), list(images[0].scores.values), sync_on_compute=False)
    for image in images:
        scores.update(image.scores, image.set)
    means = {name: float(value) for name, value in scores.compute().items()}
    blocks = {
        name: {"images": count}
        | {k.removeprefix(f"{name}/"): v for k, v in means.items() if k.startswith(f"{name}/")}
        for name, count in {**counts, POOLED: len(images)}.items()
    }
    over_sets = {name: value for name, value in means.items() if "/" not in name}
    return {**over_sets, POOLED: blocks.pop(POOLED), "sets": blocks}


def printed_table(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """A line per model and set, and two per model: over all images, and the mean over sets."""
    lines: list[TableLine] = [["model", "set", "images", *LABELS.values()]]
    for model, summary in summaries.items():
        blocks = {**summary["sets"], ALL_IMAGES: summary[POOLED], "mean over sets": summary}
        lines += [
            [model, name, block["images"], *(block.get(m) for m in LABELS)] for name, block in blocks.items()
        ]
    partial = [model for model, summary in summaries.items() if summary["status"] != "complete"]
    return text_table(lines) + (f"\nPARTIAL: {', '.join(partial)}" if partial else "")


def _row(image: ScoredImage) -> Row:
    return {"set": image.set, "image": image.image, **image.scores.values}
