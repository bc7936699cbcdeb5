"""Evaluation gives the numbers of the validation in training, with all that they depend on."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pisam import runs
from pisam.config import Config
from pisam.errors import PisamError
from pisam.evaluation.evaluate import masks_table, summarise_masks

ROWS = [
    {"set": "a", "image": "1", "iou": 0.5, "biou": 0.1},
    {"set": "b", "image": "1", "iou": 0.9, "biou": 0.7},
    {"set": "a", "image": "2", "iou": 0.7, "biou": 0.3},
]


def test_evaluation_equals_the_validation_in_training(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.evaluate(trained)
    table = capsys.readouterr().out
    folder = Path(trained.run_dir)
    ours = json.loads((folder / "evaluate" / "summary.json").read_text())
    theirs = json.loads((folder / "stage1" / "summary.json").read_text())["best"]
    assert 0 < ours["iou"] < 1 and 0 < ours["biou"] < 1
    for score in ("iou", "biou"):
        assert ours[score] == pytest.approx(theirs[f"val/{score}"], abs=1e-6)
        assert f"{ours[score]:.3f}" in table
        for name in ("DIS5K-VD", "HRSOD-TE"):
            assert ours["sets"][name][score] == pytest.approx(theirs[f"val/{name}/{score}"], abs=1e-6)
    assert ours["protocol"]["checkpoint_hash"] and ours["frozen_hash"]
    assert (ours["seed"], ours["precision"]) == (0, trained.trainer.precision)


def test_every_image_has_one_row(trained: Config) -> None:
    runs.evaluate(trained)
    with (Path(trained.run_dir) / "evaluate" / "per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["set", "image", "iou", "biou"]
    assert [row["set"] for row in rows] == ["DIS5K-VD"] * 3 + ["HRSOD-TE"] * 2
    assert len({(row["set"], row["image"]) for row in rows}) == 5


def test_overall_is_the_mean_over_sets_of_the_mean_over_images() -> None:
    summary = summarise_masks(ROWS)
    assert summary["sets"]["a"] == pytest.approx({"images": 2, "iou": 0.6, "biou": 0.2})
    assert (summary["images"], summary["iou"], summary["biou"]) == pytest.approx((3, 0.75, 0.45))
    assert masks_table(summary).splitlines()[-1].split() == ["mean", "over", "sets", "3", "0.750", "0.450"]


def test_without_a_trained_stage_1_it_says_so(untrained: Config) -> None:
    with pytest.raises(PisamError, match=r"needs a trained stage 1.*run stage 1 first"):
        runs.evaluate(untrained)
    assert not (Path(untrained.run_dir) / "evaluate").exists()


def test_without_a_validation_set_it_says_so(trained: Config) -> None:
    without = replace(trained, data=replace(trained.data, val=[]))
    with pytest.raises(PisamError, match=r"data\.val: no set"):
        runs.evaluate(without)
