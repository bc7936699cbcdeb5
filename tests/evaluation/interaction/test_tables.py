"""Means, mean curves and tables of the benchmark."""

from __future__ import annotations

import pytest

from pisam.evaluation.interaction.benchmark import BenchmarkRows
from pisam.evaluation.interaction.click_file import ClickedImage
from pisam.evaluation.interaction.curves import Stopwatch
from pisam.evaluation.interaction.tables import (
    SHOWN,
    benchmark_table,
    curves_table,
    mean_curves,
    names_of,
    summarise_benchmark,
)
from pisam.evaluation.rows import Row

COLUMNS = [key for key in SHOWN.values() if key not in ("images", "seconds_per_click")]


def row(model: str, set_name: str, image: str, gain: float, failed: int) -> Row:
    scores: Row = dict.fromkeys(COLUMNS, 0.0)
    names: Row = {"model": model, "set": set_name, "image": image}
    return {**names, **scores, "iou_gain": gain, "oracle": 2 * gain, "nof_90": failed}


MEASURED = BenchmarkRows(
    images=[
        row("SAM", "a", "1", 0.1, 1),
        row("Pi-SAM", "a", "1", 0.3, 0),
        row("SAM", "b", "1", 0.2, 1),
        row("Pi-SAM", "b", "1", 0.5, 0),
        row("SAM", "a", "2", 0.6, 0),
        row("Pi-SAM", "a", "2", 0.7, 1),
    ],
    curves=[
        {
            "model": "SAM",
            "set": s,
            "image": "1",
            "protocol": p,
            "clicks": k,
            "iou": iou,
            "biou": iou / 2,
            "oracle": iou / 4,
        }
        for s, base in (("b", 0.2), ("a", 0.4))
        for p in ("single-shot", "iterative")
        for k, iou in ((0, base), (1, base + 0.1), (10, base + 0.2))
    ],
    watches={"SAM": Stopwatch(3.0, 6), "Pi-SAM": Stopwatch()},
)


def test_means_are_over_images_and_failures_are_counted() -> None:
    summary = summarise_benchmark(MEASURED)
    sam = summary["SAM"]
    assert (sam["pooled"]["images"], sam["sets"]["a"]["images"]) == (3, 2)
    assert sam["pooled"]["iou_gain"] == pytest.approx(0.3)
    assert sam["sets"]["a"]["iou_gain"] == pytest.approx(0.35)
    assert (sam["pooled"]["nof_90"], sam["sets"]["b"]["nof_90"]) == (2, 1)
    assert summary["Pi-SAM"]["pooled"]["iou_gain"] == pytest.approx(0.5)
    assert (sam["pooled"]["seconds_per_click"], summary["Pi-SAM"]["pooled"]["seconds_per_click"]) == (
        0.5,
        None,
    )


def test_share_of_the_oracle_is_that_of_the_means() -> None:
    assert summarise_benchmark(MEASURED)["SAM"]["pooled"]["oracle_share"] == pytest.approx(0.5)
    none = BenchmarkRows([row("SAM", "a", "1", 0.0, 0)], [], {"SAM": Stopwatch()})
    assert summarise_benchmark(none)["SAM"]["pooled"]["oracle_share"] is None


def test_curves_are_means_over_images_of_all_sets_and_of_each() -> None:
    curves = mean_curves(MEASURED.curves)
    assert len(curves) == 3 * 2 * 3
    assert curves[0] == {
        "model": "SAM",
        "set": "all images",
        "protocol": "iterative",
        "clicks": 0,
        "images": 2,
        "iou": pytest.approx(0.3),
        "biou": pytest.approx(0.15),
        "oracle": pytest.approx(0.075),
    }
    last = curves[-1]
    assert (last["set"], last["protocol"], last["clicks"], last["images"]) == ("b", "single-shot", 10, 1)
    assert last["iou"] == pytest.approx(0.4)


def test_tables() -> None:
    lines = benchmark_table(summarise_benchmark(MEASURED)).splitlines()
    assert [line.split()[0] for line in lines] == ["model", "SAM", "Pi-SAM"]
    assert lines[1].split()[:2] == ["SAM", "3"] and lines[1].split()[-1] == "0.500"
    table = [line.split() for line in curves_table(mean_curves(MEASURED.curves)).splitlines()]
    assert table == [
        ["model", "IoU", "after", "clicks", "0", "1", "10"],
        ["SAM", "iterative", "0.300", "0.400", "0.500"],
        ["SAM", "single-shot", "0.300", "0.400", "0.500"],
        ["SAM", "iterative", "oracle,", "gain", "0.075", "0.100", "0.125"],
        ["SAM", "single-shot", "oracle,", "gain", "0.075", "0.100", "0.125"],
    ]


def test_names() -> None:
    assert names_of([ClickedImage("a", "1", 1, 1, 0, ())]) == ["a/1"]
