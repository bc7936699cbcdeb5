"""The tables of a page: numbers as they are read, and as they are sorted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pisam.core.checks import ALL_IMAGES, POOLED
from pisam.evaluation.interaction.tables import CONTROLS, EFFORT, GAINS, OWN, SHOWN
from pisam.evaluation.results import LABELS
from pisam.report.results import Evaluation, Interaction

# Of a single image these tell little.
OF_MEANS = ("images", "labels_exchanged", "random_places", "iou_gain_noisy", *EFFORT.values())
SIGNED = ("labels_exchanged", "random_places", "oracle")  # changes whose names do not say so
PER_IMAGE = {
    "common error": "common_area",
    **{heading: column for heading, column in SHOWN.items() if column not in OF_MEANS},
    "NoC@90": "noc_90",
}


@dataclass(frozen=True)
class Cell:
    """A cell: its text, and the number that it is sorted by, None where there is none."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class Line:
    """A row."""

    cells: list[Cell]  # from left to right
    strong: bool = False  # for means over all sets
    number: int = 0  # of the image that it is about, from 1; 0 for means


@dataclass(frozen=True)
class Table:
    """A table of a page: its heading, what its columns mean, their names, its rows."""

    title: str
    note: str
    head: list[str]
    rows: list[Line]


def number_cell(column: str, value: float | None) -> Cell:
    """A number as its column shows it: changes with their sign, counts without needless digits."""
    if value is None or math.isnan(value):
        return Cell("–")
    if column in ("images", "common_area", "clicks") or column.startswith(("noc_", "nof_")):
        text = f"{value:.0f}" if value == int(value) else f"{value:.1f}"
    else:
        digits = 1 if column.startswith("hce") else 2 if column == "seconds_per_click" else 3
        sign = "+" if "gain" in column or column in SIGNED else ""
        rounded = round(value, digits) + 0.0  # a small loss is no "-0.000"
        text = f"{rounded:{sign}.{digits}f}"
    return Cell(text.replace("-", "−"), float(value))


def summary_tables(interaction: Interaction, evaluations: Sequence[Evaluation]) -> list[Table]:
    """Per model and set: the benchmark, its controls, clicks on own errors, and whole sets without clicks."""
    models = interaction.summary["benchmark"]["models"]
    tables = [
        _table(
            "The same clicks for every model",
            f"Means over images, before and after {interaction.given} clicks on the common error. Oracle: "
            "the gain if exactly the clicked regions were repaired; share: how much of it was reached. Of "
            "MAE and HCE less is better.",
            GAINS,
            _benchmark_rows(models),
        ),
        _table(
            "What the gain is made of",
            "Gain in IoU with the labels exchanged, with the same labels at random places, with a fifth of "
            "the clicks spoilt (noisy), without the pixels near a click (away). Shares of the clicked pixels "
            "that got their label from the network alone (obeyed) and with the guarantee, and of the right "
            "pixels far from clicks that turned wrong (collateral).",
            {"gain": "iou_gain", **CONTROLS},
            _benchmark_rows(models),
        ),
        _table(
            "How many clicks it takes",
            "Clicks one by one on the model's own largest error. NoC@90: mean number until IoU .90; NoF@90: "
            "images that never reach it.",
            {"images": "images", **EFFORT},
            _benchmark_rows(models),
        ),
        _table(
            "Clicks on Pi-SAM's own errors",
            "All validation images, clicks drawn anew from each straight-forward mask. Improved: share of "
            "the images with a gain.",
            OWN,
            _benchmark_rows(interaction.summary.get("uses") or {"Pi-SAM": interaction.summary}),
        ),
    ]
    scored = [evaluation for evaluation in evaluations if evaluation.complete]
    if scored:
        columns = {"images": "images", **{label: column for column, label in LABELS.items()}}
        tables.append(
            _table(
                "Whole sets, no clicks",
                "Scores of pisam evaluate, means over images; in bold over all images, and the mean of the "
                "sets.",
                columns,
                (row for one in scored for row in _evaluation_rows(one)),
            )
        )
    return tables


def per_image_table(interaction: Interaction) -> Table:
    """A row per image and model: SET/IMAGE, model, then the columns of `PER_IMAGE`."""
    numbers = {
        (image.set, image.image): number for number, image in enumerate(interaction.clicks.images, start=1)
    }
    return Table(
        "Every image",
        "",
        ["image", "model", *PER_IMAGE],
        [
            Line(
                [
                    Cell(f"{row['set']}/{row['image']}"),
                    Cell(str(row["model"])),
                    *(number_cell(column, float(row.get(column, math.nan))) for column in PER_IMAGE.values()),
                ],
                number=numbers[str(row["set"]), str(row["image"])],
            )
            for row in interaction.rows
        ],
    )


def _table(
    title: str,
    note: str,
    columns: Mapping[str, str],
    rows: Iterator[tuple[str, str, Mapping[str, Any], bool]],
) -> Table:
    """Args: heading -> column of the means; rows of model, set, means and whether they are of all sets."""
    return Table(
        title,
        note,
        ["model", "set", *columns],
        [
            Line([Cell(model), Cell(name), *(number_cell(c, means.get(c)) for c in columns.values())], strong)
            for model, name, means, strong in rows
        ],
    )


def _benchmark_rows(models: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any], bool]]:
    for model, means in models.items():
        yield model, ALL_IMAGES, means[POOLED], True
        yield from ((model, name, of_set, False) for name, of_set in means["sets"].items())


def _evaluation_rows(evaluation: Evaluation) -> Iterator[tuple[str, str, Mapping[str, Any], bool]]:
    yield evaluation.model, ALL_IMAGES, evaluation.summary[POOLED], True
    yield evaluation.model, "mean over sets", evaluation.summary, True
    sets = evaluation.summary["sets"].items()
    yield from ((evaluation.model, name, of_set, False) for name, of_set in sets)
