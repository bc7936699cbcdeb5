"""Files of an evaluation, and its tables beside published figures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pisam.core.errors import PisamError
from pisam.data.sources.known_sets import KNOWN_SETS
from pisam.evaluation.results import (
    ScoredImage,
    begin_results,
    latex_table,
    markdown_table,
    printed_table,
    published_figures,
    refuse_foreign_folder,
    summarise,
    write_results,
    write_tables,
)
from pisam.metrics.image_scores import METRICS, score_image

FACTS = {"name": "mine", "protocol": {"image_size": 64}}


def scored(set_name: str, image: str, seed: int) -> ScoredImage:
    rng = np.random.default_rng(seed)
    mask = np.zeros((40, 50), bool)
    mask[5 : 20 + seed, 8:30] = True
    levels = (mask * 120 + rng.integers(0, 136, mask.shape)).astype(np.uint8)
    return ScoredImage("SAM", set_name, image, score_image(levels, mask))


IMAGES = [scored("a", "1", 0), scored("a", "2", 1), scored("b", "1", 2)]


def test_overall_is_the_mean_over_sets_of_the_mean_over_images() -> None:
    summary = summarise(IMAGES)
    first, second, third = (image.scores.values for image in IMAGES)
    assert {name: means["images"] for name, means in summary["sets"].items()} == {"a": 2, "b": 1}
    assert first["mae"] != second["mae"]
    assert summary["sets"]["a"]["mae"] == pytest.approx((first["mae"] + second["mae"]) / 2)
    assert summary["mae"] == pytest.approx(((first["mae"] + second["mae"]) / 2 + third["mae"]) / 2)


def test_max_f_of_a_set_is_at_one_threshold_for_all_its_images() -> None:
    curves = [image.scores.f_curve for image in IMAGES[:2]]
    assert summarise(IMAGES)["sets"]["a"]["max_f"] == pytest.approx(np.mean(curves, axis=0).max())


def test_complete_results_hold_a_row_per_image_and_say_complete(tmp_path: Path) -> None:
    begin_results(tmp_path, FACTS, 3)
    summary = write_results(tmp_path, IMAGES, FACTS, expected=3)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert (summary["status"], summary["images"], summary["protocol"]) == ("complete", 3, FACTS["protocol"])
    with (tmp_path / "per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["set", "image", *METRICS]
    assert [(row["set"], row["image"]) for row in rows] == [("a", "1"), ("a", "2"), ("b", "1")]
    assert float(rows[2]["weighted_f"]) == pytest.approx(IMAGES[2].scores.values["weighted_f"], abs=1e-6)


def test_until_it_is_complete_it_says_partial_and_nothing_older_stays(tmp_path: Path) -> None:
    write_results(tmp_path, IMAGES, FACTS, expected=3)
    write_tables(tmp_path, {"SAM": summarise(IMAGES) | {"status": "complete"}})
    begin_results(tmp_path, FACTS, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    begun = json.loads((tmp_path / "summary.json").read_text())
    assert (begun["status"], begun["images"], begun["images_expected"]) == ("partial", 0, 3)
    assert "iou" not in begun

    partial = write_results(tmp_path, IMAGES[:2], FACTS, expected=3)
    assert (partial["status"], partial["images"], partial["images_expected"]) == ("partial", 2, 3)
    assert "PARTIAL: SAM" in printed_table({"SAM": partial})
    assert write_results(tmp_path, [], FACTS, expected=3)["status"] == "partial"


def test_the_printed_table_has_a_line_per_set_one_for_all_images_and_the_mean() -> None:
    lines = printed_table({"SAM": summarise(IMAGES) | {"status": "complete", "images": 3}}).splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["SAM", "a", "2"], ["SAM", "b", "1"]]
    assert lines[3].split()[:4] == ["SAM", "all", "images", "3"]
    assert lines[4].split()[:5] == ["SAM", "mean", "over", "sets", "3"] and len(lines) == 5


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    refuse_foreign_folder(tmp_path, key="out")
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(PisamError, match=r"out .*: holds other files"):
        refuse_foreign_folder(tmp_path, key="out")
    with pytest.raises(PisamError, match=r"holds other files"):
        refuse_foreign_folder(tmp_path / "thesis.tex", key="out")
    for foreign in ("", "[]", '{"best": {"val/iou": 0.5}}', '{"status": "complete", "benchmark": {}}'):
        (tmp_path / "summary.json").write_text(foreign)  # of a stage, of an interaction benchmark
        with pytest.raises(PisamError, match=r"holds other files"):
            refuse_foreign_folder(tmp_path, key="out")


def test_an_earlier_evaluation_may_be_replaced_begun_or_complete(tmp_path: Path) -> None:
    begin_results(tmp_path, FACTS, 3)
    refuse_foreign_folder(tmp_path, key="out")
    write_results(tmp_path, IMAGES, FACTS, expected=3)
    refuse_foreign_folder(tmp_path, key="out")


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
    assert line.startswith("| set \\|1 | 3 | a^b\\~c\\\\d &lt;i>\\| x |")


@pytest.mark.parametrize("name", ["[1ex]a", "*a"])
def test_a_row_is_no_argument_of_the_line_above(name: str) -> None:
    """`\\\\` and `\\midrule` look for `[` and `*` behind them, over the end of the line."""
    lines = latex_table({"SAM": summary(name, 3), "HQ": summary(name, 3)}).splitlines()
    rows = [line for line in lines if "1ex" in line or "a & 3" in line]
    assert [row[:3] for row in rows] == [f"{{{name[0]}}}"] * 2


def test_names_are_shown_in_markdown_as_they_are() -> None:
    table = markdown_table({"*a* `b` &lt; [c](d) ~~e~~": summary("_x_", 3)})
    assert "| \\_x\\_ | 3 | \\*a\\* \\`b\\` &amp;lt; \\[c](d) \\~\\~e\\~\\~ |" in table


def test_a_folder_in_the_place_of_a_file_is_refused_at_the_begin(tmp_path: Path) -> None:
    (tmp_path / "per_image.csv").mkdir()
    with pytest.raises(PisamError, match=r"per_image\.csv: a folder stands where a file is needed"):
        begin_results(tmp_path, FACTS, 3)
    assert not (tmp_path / "summary.json").exists()


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
