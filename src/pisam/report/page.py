"""The page itself: what the template shows, from results and the pictures beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2

from pisam import __version__
from pisam.core.checks import POOLED
from pisam.core.drawing import BACKGROUND_CLICK, FALSE, FOREGROUND_CLICK, MISSED, as_hex, fitted
from pisam.report.examples import LONGEST
from pisam.report.results import Evaluation, Interaction
from pisam.report.tables import number_cell, per_image_table, summary_tables

BESIDE = ("page.css", "page.js")
SECTIONS = {
    name: name.capitalize() for name in ("summary", "scores", "figures", "images", "gallery", "protocol")
}
IOUS = ("before", "after", "gain")
COLOURS = {"missed": MISSED, "false": FALSE, "foreground": FOREGROUND_CLICK, "background": BACKGROUND_CLICK}


@dataclass(frozen=True)
class Drawing:
    """A figure of the page."""

    file: str  # its name without suffix; PNG and PDF
    size: tuple[int, int]  # of the PNG, in pixels
    alt: str  # what is seen on it, for those who do not see it
    caption: str  # below it


def picture_folder(number: int) -> str:
    """The folder of an image's pictures, below `images`: a number is safe in every address."""
    return f"{number:04d}"


def page(
    interaction: Interaction,
    evaluations: Sequence[Evaluation],
    plots: Sequence[Drawing],
    figures: Sequence[Drawing],
) -> str:
    """The page as HTML."""
    name = interaction.summary.get("name", "")
    return render(
        "page.html",
        title=f"Interaction benchmark: {name}",
        lead=_lead(interaction),
        warnings=list(_warnings(interaction, evaluations)),
        sections=SECTIONS,
        colours={name: as_hex(colour) for name, colour in COLOURS.items()},
        tables=summary_tables(interaction, evaluations),
        plots=plots,
        figures=figures,
        models=interaction.models,
        per_image=per_image_table(interaction),
        cards=list(_cards(interaction)),
        facts=list(_facts(interaction, evaluations)),
    )


def render(template: str, **values: Any) -> str:
    """A template beside this module as HTML; whatever comes from files is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(asset(template)).render(**values, version=__version__)


def asset(name: str) -> str:
    """The text of a file beside this module."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _lead(interaction: Interaction) -> str:
    benchmark = interaction.summary["benchmark"]
    gains = "; ".join(
        f"{model} {means[POOLED]['iou_before']:.3f} → {means[POOLED]['iou_after']:.3f}"
        for model, means in benchmark["models"].items()
    )
    images, wrong = len(interaction.clicks.images), ", ".join(interaction.clicks.models)
    return (
        f"{images} images on which {wrong} are wrong in the same pixels; every model gets the same "
        f"{interaction.given} clicks there. Mean IoU before and after: {gains}."
    )


def _warnings(interaction: Interaction, evaluations: Sequence[Evaluation]) -> Iterator[str]:
    if not interaction.complete:
        benchmark = interaction.summary["benchmark"]
        yield (
            f"complete: false. Only {benchmark['images']} of the {benchmark['images_asked']} images asked "
            "for (interact.images) could be clicked. These are not the numbers of the whole benchmark."
        )
    for evaluation in evaluations:
        if not evaluation.complete:
            summary = evaluation.summary
            yield (
                f"The evaluation of {evaluation.model} is unfinished: {summary.get('images')} of "
                f"{summary.get('images_expected')} images. Its scores are left out."
            )


def _cards(interaction: Interaction) -> Iterator[dict[str, Any]]:
    """What the gallery shows of each image; a tile is of one model, whose pictures begin with `file`."""
    rows = {(row["set"], row["image"], row["model"]): row for row in interaction.rows}
    for number, image in enumerate(interaction.clicks.images, start=1):
        tiles = []
        for index, model in enumerate(interaction.models):
            row = rows[image.set, image.image, model]
            ious = {what: number_cell(f"iou_{what}", float(row[f"iou_{what}"])) for what in IOUS}
            tiles.append({"model": model, "file": str(index), **ious})
        yield {
            "number": number,
            "folder": picture_folder(number),
            "name": f"{image.set}/{image.image}",
            "width": image.width,
            "height": image.height,
            "shown": fitted(image.width, image.height, LONGEST),
            "radius": max(image.width, image.height) / 90,  # of clicks, in pixels of the original
            "common_area": image.common_area,
            "clicks": image.clicks[: interaction.given],
            "tiles": tiles,
        }


def _facts(interaction: Interaction, evaluations: Sequence[Evaluation]) -> Iterator[dict[str, Any]]:
    """Headings with names and values, everything that the numbers depend on."""
    summary = interaction.summary
    scores, benchmark = dict(summary["protocol"]), dict(summary["benchmark"])
    weights = {"checkpoint_hash": scores.pop("checkpoint_hash")}
    del benchmark["models"]  # their means are the tables
    yield {"title": "Run and Pi-SAM", "entries": _flat(summary, nested=False) | weights}
    if summary.get("hq"):
        yield {"title": "HQ-SAM", "entries": _flat(summary["hq"])}
    yield {"title": "Scores", "entries": _flat(scores)}
    yield {"title": "Images and clicks", "entries": _flat(benchmark)}
    for evaluation in evaluations:
        entries = {"complete": _text(evaluation.complete), **_flat(evaluation.summary.get("protocol", {}))}
        yield {"title": f"Evaluation of {evaluation.model}", "entries": entries}


def _flat(values: Mapping[str, Any], *, nested: bool = True) -> dict[str, str]:
    """Values as text; those of a mapping among them in their place, or left out."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if not isinstance(value, Mapping):
            flat[name] = _text(value)
        elif nested:
            flat |= _flat(value)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "none" if value is None else str(value)
