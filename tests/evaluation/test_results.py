"""The files of an evaluation: complete ones say so, and say it last."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pisam.core.errors import PisamError
from pisam.evaluation.results import (
    ScoredImage,
    begin_results,
    printed_table,
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
