"""Masks of models and of any folder are scored by the code that scores in training."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.small_runs import small_batch, small_model
from pisam.commands.evaluate import evaluate
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.evaluation.evaluate import evaluate_segmenters, rescore_folder
from pisam.evaluation.predictions import save_prediction
from pisam.metrics.functional import binarise, boundary_iou, iou
from pisam.metrics.image_scores import METRICS, all_scores, score_logits
from pisam.metrics.protocol import logits_to_original
from pisam.modeling.sam_segmenters import SamSegmenter
from pisam.modeling.segmenters import PiSamSegmenter, State


def results(config: Config) -> tuple[list[dict[str, str]], dict[str, Any]]:
    folder = Path(config.run_dir) / "evaluate"
    with (folder / "per_image.csv").open(newline="") as file:
        return list(csv.DictReader(file)), json.loads((folder / "summary.json").read_text())


def test_evaluation_equals_the_validation_in_training(
    trained: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(trained)
    table = capsys.readouterr().out
    _, ours = results(trained)
    theirs = json.loads((Path(trained.run_dir) / "stage1" / "summary.json").read_text())["best"]
    assert ours["status"] == "complete"
    assert 0 < ours["iou"] < 1 and 0 < ours["biou"] < 1
    for score in ("iou", "biou"):
        assert ours[score] == pytest.approx(theirs[f"val/{score}"], abs=1e-6)
        assert f"{ours[score]:.3f}" in table
        for name in ("DIS5K-VD", "HRSOD-TE"):
            assert ours["sets"][name][score] == pytest.approx(theirs[f"val/{name}/{score}"], abs=1e-6)
    assert ours["protocol"]["checkpoint_hash"] and ours["frozen_hash"]
    assert (ours["seed"], ours["precision"]) == (0, trained.trainer.precision)


def test_every_image_has_one_row_with_every_score(trained: Config) -> None:
    evaluate(trained)
    rows, summary = results(trained)
    assert list(rows[0]) == ["set", "image", *METRICS]
    assert [row["set"] for row in rows] == ["DIS5K-VD"] * 3 + ["HRSOD-TE"] * 2
    assert len({(row["set"], row["image"]) for row in rows}) == 5
    for score in set(METRICS) - {"max_f", "max_e"}:  # those are at one threshold per set
        means = [np.mean([float(r[score]) for r in rows if r["set"] == s]) for s in ("DIS5K-VD", "HRSOD-TE")]
        assert summary[score] == pytest.approx(np.mean(means), abs=1e-5), score
    assert summary["sets"]["DIS5K-VD"]["images"] == 3


def test_without_a_trained_stage_1_it_says_so(untrained: Config) -> None:
    with pytest.raises(PisamError, match=r"needs a trained stage 1.*run stage 1 first"):
        evaluate(untrained)
    assert not (Path(untrained.run_dir) / "evaluate").exists()


def test_without_a_validation_set_it_says_so(trained: Config) -> None:
    without = replace(trained, data=replace(trained.data, val=[]))
    with pytest.raises(PisamError, match=r"data\.val: no set"):
        evaluate(without)


def test_scores_are_of_the_logits_at_original_size() -> None:
    logits = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(90, 70, dtype=torch.bool)
    mask[20:60, 10:50] = True
    predicted = binarise(logits_to_original(logits[None], mask.shape))
    scores = score_logits(logits, mask).values
    assert scores["iou"] == pytest.approx(float(iou(predicted, mask)), abs=1e-6)
    assert scores["biou"] == pytest.approx(float(boundary_iou(predicted, mask)), abs=1e-6)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_every_model_is_scored_and_kept_in_the_order_of_images(workers: int) -> None:
    model = small_model().eval()
    segmenters = [SamSegmenter(model), PiSamSegmenter(model)]
    kept: list[tuple[str, str, str, tuple[int, ...]]] = []
    scored = list(
        evaluate_segmenters(
            segmenters,
            [small_batch(2), small_batch(1, seed=5)],
            workers=workers,
            keep=lambda name, set_name, image, levels: kept.append((name, set_name, image, levels.shape)),
        )
    )
    order = ["SAM", "SAM", "Pi-SAM", "Pi-SAM", "SAM", "Pi-SAM"]
    assert [image.model for image in scored] == order
    assert kept == [(i.model, i.set, i.image, (64, 64)) for i in scored]
    alone = [image.scores.values for image in evaluate_segmenters(segmenters[1:], [small_batch(2)])]
    assert [image.scores.values for image in scored[2:4]] == alone


class Broken(SamSegmenter):
    """Answers with NaN."""

    def first(self, *arguments: Any) -> State:
        state = super().first(*arguments)
        return replace(state, logits=state.logits * float("nan"))


def test_an_answer_that_is_no_number_is_named() -> None:
    with pytest.raises(PisamError, match=r"SAM: its logits for val/0 are not finite"):
        list(evaluate_segmenters([Broken(small_model().eval())], [small_batch(1)]))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for index, stem in enumerate(("a#1.x", "b")):
        mask = np.zeros((30, 40), bool)
        mask[4 : 20 + index, 5:25] = True
        levels = (mask * 100 + rng.integers(0, 156, mask.shape)).astype(np.uint8)
        save_prediction(levels, tmp_path, "predictions", stem)
        save_prediction(mask.astype(np.uint8), tmp_path, "masks", stem)  # 0/1
    return tmp_path / "predictions", tmp_path / "masks"


def rescore(folders: tuple[Path, Path], workers: int = 0) -> dict:
    out = folders[0].parent / "out"
    return rescore_folder(*folders, out, name="other", set_name="mine", workers=workers)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_scores_are_those_of_the_levels_on_disk(workers: int, folders: tuple[Path, Path]) -> None:
    summary = rescore(folders, workers)
    out = folders[0].parent / "out"
    rows = [line.split(",") for line in (out / "per_image.csv").read_text().splitlines()]
    assert rows[0] == ["set", "image", *METRICS]
    assert [row[:2] for row in rows[1:]] == [["mine", "a#1.x"], ["mine", "b"]]
    for row in rows[1:]:
        levels = np.array(Image.open(folders[0] / f"{row[1]}.png"))
        mask = np.array(Image.open(folders[1] / f"{row[1]}.png")) > 0
        expected = all_scores(levels, mask)
        assert [float(cell) for cell in row[2:]] == pytest.approx(list(expected.values()), abs=1e-6)
    assert summary["status"] == "complete" and json.loads((out / "summary.json").read_text()) == summary
    assert "files" in summary["protocol"]["predictions"] and summary["protocol"]["numpy"] == np.__version__
    assert "other" in (out / "table.md").read_text() and "other" in (out / "table.tex").read_text()


def test_an_unreadable_file_ends_it_as_partial(folders: tuple[Path, Path]) -> None:
    (folders[0] / "b.png").write_bytes((folders[0] / "b.png").read_bytes()[:-20])
    with pytest.raises(PisamError, match=r"b\.png"):
        rescore(folders)
    out = folders[0].parent / "out"
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["status"], summary["images"], summary["images_expected"]) == ("partial", 1, 2)
    assert not (out / "table.md").exists()


def test_a_turned_prediction_is_refused_though_its_sides_fit(folders: tuple[Path, Path]) -> None:
    Image.open(folders[0] / "b.png").transpose(Image.Transpose.ROTATE_90).save(folders[0] / "b.png")
    with pytest.raises(PisamError, match=r"b\.png: the prediction is 30x40 but its mask .*b\.png is 40x30"):
        rescore(folders)


def test_nothing_is_written_where_files_do_not_match(folders: tuple[Path, Path]) -> None:
    (folders[0] / "b.png").unlink()
    with pytest.raises(PisamError, match="1 masks without prediction"):
        rescore(folders)
    assert not (folders[0].parent / "out").exists()


def test_masks_of_0_and_1_are_read_as_such_on_both_sides(folders: tuple[Path, Path]) -> None:
    summary = rescore_folder(folders[1], folders[1], folders[0].parent / "o", name="other", set_name="mine")
    assert summary["sets"]["mine"]["iou"] == summary["sets"]["mine"]["max_f"] == 1
    assert summary["protocol"]["predictions"] == "0/1 masks"


def test_an_ignored_value_counts_for_no_score(folders: tuple[Path, Path]) -> None:
    for stem in ("a#1.x", "b"):
        mask = np.array(Image.open(folders[1] / f"{stem}.png"))
        save_prediction(mask * np.uint8(255), folders[0].parent, "predictions", stem)
        mask[:, 24:30] = 255
        save_prediction(mask, folders[0].parent, "masks", stem)
    with pytest.raises(PisamError, match="value 255 beside 1 alone"):
        rescore(folders)
    summary = rescore_folder(*folders, folders[0].parent / "o", name="other", set_name="mine", ignore=255)
    assert summary["sets"]["mine"]["iou"] == summary["sets"]["mine"]["max_f"] == 1
    assert summary["sets"]["mine"]["mae"] == 0 and summary["protocol"]["ignored mask value"] == 255
