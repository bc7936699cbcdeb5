"""Tables show our scores beside the published ones and never pass a part off as the whole."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pisam.data.sources.known_sets import KNOWN_SETS
from pisam.evaluation.published import latex_table, markdown_table, published_figures
from pisam.metrics.image_scores import METRICS


def summary(name: str, images: int, *, status: str = "complete") -> dict[str, Any]:
    means = {
        "images": images,
        "iou": 0.81239,
        "max_f": 1.0,
        "mae": 0.0449,
        "hce": 1234.6,
        "max_f_per_image": 1.0,
    }
    return {"status": status, "sets": {name: means}}


def cells(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in table.splitlines()
        if line[:1] == "|"
    ]


def test_our_rows_come_before_the_published_of_a_known_set() -> None:
    table = markdown_table({"SAM": summary("DIS5K-TE1", 500), "a|b": summary("DIS5K-TE1", 500)})
    heading, _, sam, other, *published = cells(table)
    assert heading == ["set", "images", "model", "IoU ↑", "max F ↑", "MAE ↓", "HCE ↓"]
    assert sam == ["DIS5K-TE1", "500", "SAM", ".812", "1.000", ".045", "1235"]
    assert other[2] == "a\\|b"
    assert ["DIS5K-TE1", "500", "Pi-SAM ViT-H (published)", "-", ".917", ".019", "127"] in published
    assert len(published) == 14
    assert "ACM MM 2024" in table and "given the box" in table


def test_a_set_of_ones_own_has_no_published_rows() -> None:
    table = markdown_table({"SAM": summary("mine", 3)})
    assert len(cells(table)) == 3
    assert "published" not in table


def test_part_of_a_set_says_so() -> None:
    assert cells(markdown_table({"SAM": summary("DIS5K-TE1", 40)}))[2][1] == "40 of 500"
    partial = markdown_table({"SAM": summary("mine", 3, status="partial")})
    assert cells(partial)[2][1] == "3, partial"
    assert "Partial: not all images were scored" in partial


def test_latex_is_escaped_and_balanced() -> None:
    table = latex_table({"my_model #2 & 50%": summary("mine_1", 3), "SAM": summary("DIS5K-TE1", 500)})
    assert "mine\\_1 & 3 & my\\_model \\#2 \\& 50\\% & .812 & 1.000 & .045 & 1235 \\\\" in table
    rows = [line for line in table.splitlines() if line.endswith("\\\\")]
    assert all(line.replace("\\&", "").count("&") == 6 for line in rows) and len(rows) == 1 + 1 + 15
    assert table.count("\\begin{tabular}") == table.count("\\end{tabular}") == 1
    assert "MAE $\\downarrow$" in table and "IoU $\\uparrow$" in table


def test_names_mean_nothing_to_latex_markdown_or_a_browser() -> None:
    odd = {"a^b~c\\d <i>|\nx": summary("set\n|1", 3)}
    row = next(line for line in latex_table(odd).splitlines() if line.startswith("set |"))
    assert row.startswith("set |1 & 3 & a\\textasciicircum{}b\\textasciitilde{}c\\textbackslash{}d")
    line = next(
        line for line in markdown_table(odd).splitlines() if "textascii" not in line and "a^b" in line
    )
    assert line.startswith("| set \\|1 | 3 | a^b~c\\\\d &lt;i>\\| x |")


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
        for name, known in published_figures()["sets"].items()
        for method, figures in known["methods"].items()
        for metric, value in figures.items()
    }
    assert len(shipped) > 300
    assert shipped == expected


def test_names_are_those_of_our_sets_and_scores() -> None:
    figures = published_figures()
    assert figures["source"] and "box" in figures["protocol"]
    assert set(figures["sets"]) <= set(KNOWN_SETS)
    for known in figures["sets"].values():
        assert known["images"] == 500
        assert {metric for method in known["methods"].values() for metric in method} <= set(METRICS)
