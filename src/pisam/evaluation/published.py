"""Scores beside the figures that papers print, as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


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
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "\n": " ",
    }
)
Cells = list[str]
Block = tuple[str, list[Cells]]


def markdown_table(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of every model on every set, the published figures of known sets below it.

    Args:
        summaries: of each model, by its name: `sets` with the means and `status`, as in `summary.json`.
    """
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
    """A cell that is neither two cells, nor a line's end, nor HTML."""
    for character, instead in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("\n", " "), ("\r", " ")):
        text = text.replace(character, instead)
    return text


def _escaped(text: str) -> str:
    return text.translate(LATEX)
