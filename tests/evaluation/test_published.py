"""The shipped figures are those of the reference, under our names."""

from __future__ import annotations

import csv
from pathlib import Path

from pisam.data.sources.known_sets import KNOWN_SETS
from pisam.evaluation.published import published_figures
from pisam.metrics.image_scores import METRICS


def our_method(name: str) -> str:
    model, dash, size = name.rpartition("-")
    return f"{model} ViT-{size.upper()}" if dash and size in "blh" else name.replace("Birefnet", "BiRefNet")


def test_every_figure_of_the_reference_is_shipped(shared: Path) -> None:
    with (shared / "reference" / "dis5k_paper_results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {
        (row["subset"].replace("DIS-", "DIS5K-"), our_method(row["method"]), row["metric"]): float(
            row["value"]
        )
        for row in rows
    }
    shipped = {
        (name, method, metric): value
        for name, known in published_figures().sets.items()
        for method, figures in known.methods.items()
        for metric, value in figures.items()
    }
    assert len(shipped) > 300
    assert shipped == expected


def test_names_are_those_of_our_sets_and_scores() -> None:
    figures = published_figures()
    assert figures.source and "box" in figures.protocol
    assert set(figures.sets) <= set(KNOWN_SETS)
    for known in figures.sets.values():
        assert known.images == 500
        assert {metric for method in known.methods.values() for metric in method} <= set(METRICS)
