"""The files and tables of `pisam interact`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pisam.config.schema import Config
from pisam.core.files import refuse_blocked, refuse_folders, write_json
from pisam.core.terminal import escaped
from pisam.evaluation.interaction.benchmark import NOISE, BenchmarkRows
from pisam.evaluation.interaction.click_file import ClickFile, Selection, clicks_hash, write_clicks
from pisam.evaluation.interaction.controls import NEAR
from pisam.evaluation.interaction.own_errors import CLICK_SEEDS
from pisam.evaluation.interaction.tables import (
    benchmark_table,
    curves_table,
    mean_curves,
    names_of,
    own_table,
    summarise_benchmark,
    summarise_own,
)
from pisam.evaluation.results import SCORING
from pisam.evaluation.rows import Row, write_csv

TABLES = ("own_errors.csv", "per_image.csv", "per_image_curves.csv", "curves.csv")
NAMED = 5  # images named in print; the summary names all


@dataclass
class Search:
    """Results of clicking each image on its own errors, and of looking for common ones."""

    images: int  # their number
    own: list[Row]  # the rows of `click_effect`
    equal: bool  # whether removing the clicks changed nothing anywhere
    selection: Selection | None  # the images of the benchmark; None where those of a click file are taken


def results_folder(config: Config) -> Path:
    """The folder that the verb writes to."""
    return Path(config.run_dir) / "interact"


def refuse_in_the_way(folder: Path) -> None:
    """Raise PisamError where a folder or file keeps results from being written to `folder`."""
    refuse_folders(*(folder / name for name in (*TABLES, "clicks.json", "summary.json")))
    refuse_blocked(folder / "masks")


def begin_results(folder: Path) -> None:
    """Remove the results of an earlier run, but its clicks, and mark the folder as partial."""
    write_json({"status": "partial"}, folder / "summary.json")
    for name in TABLES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "masks", ignore_errors=True)


def write_results(
    config: Config, facts: dict[str, Any], search: Search, file: ClickFile, measured: BenchmarkRows
) -> None:
    """Write and print everything, `summary.json` last."""
    own, models = summarise_own(search.own), summarise_benchmark(measured)
    curves = mean_curves(measured.curves)
    clicks = {**asdict(config.clicks), "click_seeds": CLICK_SEEDS, "away_from_clicks_px": NEAR}
    images = _images_facts(config, file, search)
    benchmark_settings = {**file.settings, "away_from_clicks_px": NEAR, "noise": NOISE}
    summary = {
        "status": "complete",
        **facts,
        "protocol": {
            **facts["protocol"],
            **SCORING,
            **{key: value for key, value in benchmark_settings.items() if key != "interact.images"},
            "clicks_hash": clicks_hash(file),
        },
        "clicks": {**clicks, "away_frame": "original image"},
        "equal_without_clicks": search.equal,
        **own,
        "benchmark": {
            "settings": benchmark_settings,
            "seed": file.seed,
            "common_error_of": file.models,
            **images,
            "models": models,
        },
    }
    folder = results_folder(config)
    for name, rows in zip(TABLES, (search.own, measured.images, measured.curves, curves), strict=True):
        write_csv(rows, folder / name)
    write_clicks(file, folder / "clicks.json")
    write_json(summary, folder / "summary.json")
    print(
        "clicks on Pi-SAM's own errors",
        own_table(own),
        f"all clicks removed: masks {'equal' if search.equal else 'DIFFER'}",
        "",
        *_images_lines(images, file, search.selection),
        benchmark_table(models),
        "",
        curves_table(curves),
        sep="\n",
        flush=True,
    )


def some(names: Sequence[str]) -> str:
    """The first names, and how many there are more."""
    more = len(names) - NAMED
    return ", ".join(map(escaped, names[:NAMED])) + (f" and {more} more" if more > 0 else "")


def _images_facts(config: Config, file: ClickFile, search: Search) -> dict[str, Any]:
    """Number of images asked for, and the images that cannot take part."""
    asked = int(file.settings.get("interact.images", config.interact.images))
    counts = {"images_asked": asked, "images": len(file.images), "complete": len(file.images) >= asked}
    if search.selection is None:
        return counts
    return {
        **counts,
        "images_searched": search.images,
        "without_common_error": names_of(search.selection.without_error),
        "too_small_to_click": names_of(search.selection.too_small),
    }


def _images_lines(images: dict[str, Any], file: ClickFile, selection: Selection | None) -> Iterator[str]:
    fewer = "" if images["complete"] else f": fewer than the {images['images_asked']} of interact.images"
    yield f"the same clicks on the common error of {', '.join(file.models)}: {images['images']} images{fewer}"
    if selection is not None:
        for what, group in (
            ("no common error", selection.without_error),
            ("common error too small to click", selection.too_small),
        ):
            if group:
                yield f"{what}: {len(group)} images, {some(names_of(group))}"
