"""The files of an evaluation, marked complete last, and its tables beside the figures that papers print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from pisam.core.checks import ALL_IMAGES, POOLED
from pisam.core.errors import PisamError
from pisam.core.files import read_object, refuse_folders, write_json, write_text
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
    """The scores of one model's answer to one image."""

    model: str  # name of the segmenter
    set: str  # name of the data set
    image: str  # its id within the set
    scores: ImageScores  # at original size


def refuse_foreign_folder(folder: Path, *, key: str) -> None:
    """Raise PisamError where a folder holds something, but no evaluation: that may be replaced."""
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
    """Mark a folder as partial, and remove the results of an earlier evaluation.

    Raises:
        PisamError: a folder stands in the place of a file, or nothing can be written there.
    """
    refuse_folders(*(folder / name for name in FILES))
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
        write_text(text, folder / name, "backslashreplace")


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


@cache
def published_figures() -> dict[str, Any]:
    """The figures of the Pi-SAM paper on the test sets of DIS5K: `published.yaml`."""
    text = files("pisam.evaluation").joinpath("published.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


LABELS = {
    "iou": "IoU",
    "biou": "boundary IoU",
    "max_f": "max F",
    "mean_f": "mean F",
    "adaptive_f": "adaptive F",
    "weighted_f": "weighted F",
    "mae": "MAE",
    "s_measure": "S",
    "max_e": "max E",
    "mean_e": "mean E",
    "adaptive_e": "adaptive E",
    "hce": "HCE",
}
LOWER_IS_BETTER = ("mae", "hce")
LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        **{character: f"{{{character}}}" for character in "[*"},  # begins an argument after a line or a rule
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "\n": " ",
        "\r": " ",
    }
)
MARKDOWN = str.maketrans(
    {
        **{character: f"\\{character}" for character in "\\|*_`[~"},
        "&": "&amp;",
        "<": "&lt;",
        "\n": " ",
        "\r": " ",
    }
)
Cells = list[str]
Block = tuple[str, list[Cells]]


def markdown_table(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of every model, by its name and `summary.json`, on every set; published figures below it."""
    metrics = _metrics(summaries)
    arrows = ["↓" if metric in LOWER_IS_BETTER else "↑" for metric in metrics]
    columns = (f"{LABELS[metric]} {arrow}" for metric, arrow in zip(metrics, arrows, strict=True))
    heading = ["set", "images", "model", *columns]
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    for _, rows in _blocks(summaries, metrics):
        lines += ["| " + " | ".join(_in_markdown(cell) for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", *_remarks(summaries), ""])


def latex_table(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """LaTeX table for `booktabs`; arguments as in `markdown_table`."""
    metrics = _metrics(summaries)
    arrows = ["$\\downarrow$" if metric in LOWER_IS_BETTER else "$\\uparrow$" for metric in metrics]
    columns = (f"{LABELS[metric]} {arrow}" for metric, arrow in zip(metrics, arrows, strict=True))
    heading = " & ".join(["set", "images", "model", *columns])
    blocks = [
        " \\\\\n".join(" & ".join(map(_escaped, row)) for row in rows) + " \\\\"
        for _, rows in _blocks(summaries, metrics)
    ]
    return "\n".join(
        [
            *(f"% {' '.join(remark.split())}" for remark in _remarks(summaries)),
            f"\\begin{{tabular}}{{lrl{'r' * len(metrics)}}}",
            "\\toprule",
            f"{heading} \\\\",
            "\\midrule",
            "\n\\midrule\n".join(blocks),
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )


def _metrics(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The scores that any model has, in the order of the columns."""
    scored = {key for summary in summaries.values() for means in summary["sets"].values() for key in means}
    return [metric for metric in LABELS if metric in scored]


def _blocks(summaries: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> list[Block]:
    names = dict.fromkeys(name for summary in summaries.values() for name in summary["sets"])
    blocks = []
    for name in names:
        known = published_figures()["sets"].get(name)
        rows = []
        for model, summary in summaries.items():
            if means := summary["sets"].get(name):
                images = _count(means["images"], known["images"] if known else None, summary["status"])
                rows.append(
                    [name, images, model, *(_number(metric, means.get(metric)) for metric in metrics)]
                )
        if known:
            for method, printed in known["methods"].items():
                numbers = (_number(metric, printed.get(metric)) for metric in metrics)
                rows.append([name, str(known["images"]), f"{method} (published)", *numbers])
        blocks.append((name, rows))
    return blocks


def _count(images: int, whole: int | None, status: str) -> str:
    """Part of a set never looks like all of it."""
    partial = "" if status == "complete" else ", partial"
    return f"{images}{partial}" if whole in (None, images) else f"{images} of {whole}{partial}"


def _number(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if metric == "hce" else f"{value:.3f}".removeprefix("0")


def _remarks(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    remarks = []
    if any(summary["status"] != "complete" for summary in summaries.values()):
        remarks.append("Partial: not all images were scored; these are no results.")
    figures = published_figures()
    if any(name in figures["sets"] for summary in summaries.values() for name in summary["sets"]):
        remarks.append(f"(published): {figures['source']}; {figures['protocol']}")
    return remarks


def _in_markdown(text: str) -> str:
    """A cell that is neither two cells, nor a line's end, nor HTML, nor emphasis or a link."""
    return text.translate(MARKDOWN)


def _escaped(text: str) -> str:
    return text.translate(LATEX)
