"""Any model's saved masks get the numbers that the model itself gets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pisam.core.errors import PisamError
from pisam.evaluation.predictions import save_prediction
from pisam.evaluation.rescore import rescore_folder
from pisam.metrics.image_scores import METRICS, all_scores


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
