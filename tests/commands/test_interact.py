"""`pisam interact` as a whole: its files, its replay with the same numbers, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.small_runs import small_config, write_sets
from pisam import cli
from pisam.commands.interact import interact
from pisam.commands.train import train
from pisam.config.load import load_config
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.data.reading.reader import read_mask
from pisam.evaluation.compare import compare_runs
from pisam.evaluation.predictions import read_prediction
from pisam.metrics.image_scores import all_scores

MODELS = ["SAM", "Pi-SAM", "SAM+mask", "SAM+mask+guarantee", "Pi-SAM+guarantee"]
SHORT = ("stage1.max_steps=1", "stage2.max_steps=3", "stage2.lr=0.1")  # what errs has errors in common
FEW = ("interact.rounds=3", "interact.clicks=2", "interact.images=4")
NUMBERS = ("own_errors.csv", "per_image.csv", "per_image_curves.csv", "curves.csv", "clicks.json")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A short run of both stages and its interaction benchmark."""
    folder = tmp_path_factory.mktemp("interact")
    root = write_sets(folder / "sets")
    config = small_config(folder, root, *SHORT, *FEW)
    train(config, 1)
    train(config, 2)
    interact(config)
    return config


def folder_of(config: Config) -> Path:
    return Path(config.run_dir) / "interact"


def rows_of(config: Config, name: str) -> list[dict[str, str]]:
    with (folder_of(config) / name).open(newline="") as file:
        return list(csv.DictReader(file))


def summary_of(config: Config) -> dict[str, Any]:
    return json.loads((folder_of(config) / "summary.json").read_text())


def test_every_model_has_a_row_for_each_of_the_images_with_the_largest_common_error(measured: Config) -> None:
    rows = rows_of(measured, "per_image.csv")
    clicks = json.loads((folder_of(measured) / "clicks.json").read_text())
    images = [(entry["set"], entry["image"]) for entry in clicks["images"]]
    assert len(set(images)) == len(images) == 4
    assert [(r["set"], r["image"], r["model"]) for r in rows] == [(*i, m) for i in images for m in MODELS]
    areas = [entry["common_area"] for entry in clicks["images"]]
    assert areas == sorted(areas, reverse=True) and areas[-1] > 0
    assert any(float(row["iou_gain"]) for row in rows if row["model"] == "Pi-SAM")
    assert len(rows_of(measured, "per_image_curves.csv")) == 4 * len(MODELS) * 2 * 4  # 0 to 3 clicks
    assert len(rows_of(measured, "own_errors.csv")) == 5 * 3 * 2


def test_masks_before_and_after_are_kept_of_every_row(measured: Config) -> None:
    rows = rows_of(measured, "per_image.csv")
    root = Path(measured.data.root or "")
    for row in rows:
        true = read_mask(root / row["set"] / "masks" / f"{row['image']}.png")
        for when in ("before", "after"):
            path = folder_of(measured) / "masks" / row["model"] / when / row["set"] / f"{row['image']}.png"
            scores = all_scores(read_prediction(path), true, ["iou"])
            assert scores["iou"] == pytest.approx(float(row[f"iou_{when}"]), abs=1e-6)
    assert len(list((folder_of(measured) / "masks").rglob("*.png"))) == 2 * len(rows)


def test_summary_says_whose_errors_how_many_images_and_what_was_measured(measured: Config) -> None:
    summary = summary_of(measured)
    part = summary["benchmark"]
    assert part["common_error_of"] == MODELS[:2]  # a mask input changes no first answer
    assert list(part["models"]) == MODELS
    assert (part["images_asked"], part["images"], part["images_searched"], part["complete"]) == (
        4,
        4,
        5,
        True,
    )
    assert (part["settings"]["interact.clicks"], part["settings"]["policy"]) == (2, "paper")
    assert summary["replayed_clicks"] is None and summary["protocol"]["checkpoint_hash"]
    rows = [row for row in rows_of(measured, "per_image.csv") if row["model"] == "SAM"]
    pooled = part["models"]["SAM"]["pooled"]
    for column in ("iou_gain", "iou_after", "noc_85", "collateral"):
        assert pooled[column] == pytest.approx(sum(float(row[column]) for row in rows) / 4, abs=1e-6)
    assert pooled["seconds_per_click"] > 0
    assert {"iou_gain", "labels_exchanged", "random_places", "iou_gain_away"} <= summary["pooled"].keys()


def replay(measured: Config, tmp_path: Path, **changes: Any) -> Config:
    """The same trained run in another folder."""
    shutil.copytree(Path(measured.run_dir) / "stage2", tmp_path / "run" / "stage2")
    return replace(measured, run_dir=str(tmp_path / "run"), **changes)


def test_replayed_clicks_give_the_same_numbers(measured: Config, tmp_path: Path) -> None:
    """Also where the replaying run has another seed, and would search fewer images and draw other clicks."""
    clicks = folder_of(measured) / "clicks.json"
    other = replace(measured.interact, images=1)
    config = replay(measured, tmp_path, seed=5, interact=other, clicks=replace(measured.clicks, margin=0.5))
    interact(config, clicks=clicks)
    for name in NUMBERS[1:]:
        assert (folder_of(config) / name).read_text() == (folder_of(measured) / name).read_text(), name
    compared = compare_runs(folder_of(measured), folder_of(config))
    assert {(each.images, each.p_value) for each in compared if "noc" not in each.score} == {(4, 1.0)}
    assert summary_of(config)["replayed_clicks"] == str(clicks)
    assert summary_of(config)["benchmark"]["images_asked"] == 4


def test_other_clicks_give_other_numbers(measured: Config, tmp_path: Path) -> None:
    """Or the test above could not fail."""
    content = json.loads((folder_of(measured) / "clicks.json").read_text())
    for entry in content["images"]:
        entry["clicks"] = entry["clicks"][::-1][:1]
    (tmp_path / "clicks.json").write_text(json.dumps(content))
    config = replay(measured, tmp_path)
    interact(config, clicks=tmp_path / "clicks.json")
    assert rows_of(config, "per_image.csv") != rows_of(measured, "per_image.csv")
    with pytest.raises(
        PisamError, match=r"unlike protocols: clicks_hash .*; replay one's clicks with clicks=FILE"
    ):
        compare_runs(folder_of(measured), folder_of(config))


def test_fewer_images_than_asked_for_are_never_called_complete(
    measured: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replay(measured, tmp_path, interact=replace(measured.interact, images=200))
    interact(config)
    part = summary_of(config)["benchmark"]
    assert part["images"] == len({(row["set"], row["image"]) for row in rows_of(config, "per_image.csv")})
    assert (part["images_asked"], part["images"], part["complete"]) == (200, 5, False)
    said = capsys.readouterr().out
    assert "5 images: fewer than the 200 of interact.images" in said
    assert "share  boundary gain" in said and "NoC@90" in said and "single-shot" in said


def test_images_that_cannot_be_clicked_are_named(
    measured: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    areas = sorted(
        entry["common_area"]
        for entry in json.loads((folder_of(measured) / "clicks.json").read_text())["images"]
    )
    config = replay(measured, tmp_path, clicks=replace(measured.clicks, min_area=areas[-1] + 1))
    with pytest.raises(PisamError, match=r"none of the 5 images of data.val has a common error of at least"):
        interact(config)
    assert not folder_of(config).exists()
    assert "Pi-SAM" not in capsys.readouterr().out


def test_results_that_are_not_finished_are_never_called_complete(
    measured: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of an earlier run stays beside them but the clicks, which may be the ones being replayed."""
    config = replay(measured, tmp_path)
    shutil.copytree(folder_of(measured), folder_of(config))
    assert summary_of(config)["status"] == "complete"

    def fails(*_: Any, **__: Any) -> None:
        raise PisamError("the disk is full")

    monkeypatch.setattr("pisam.commands.interact.benchmark_image", fails)
    with pytest.raises(PisamError, match="the disk is full"):
        interact(config, clicks=folder_of(config) / "clicks.json")
    assert {path.name for path in folder_of(config).iterdir()} == {"clicks.json", "summary.json"}
    assert summary_of(config) == {"status": "partial"}


@pytest.mark.parametrize("name", ["clicks.json", "curves.csv", "masks"])
def test_what_is_in_the_way_of_the_results_is_refused_before_any_click(
    measured: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = replay(measured, tmp_path)
    monkeypatch.setattr("pisam.commands.interact.interacting_models", lambda *_: pytest.fail("was begun"))
    path = folder_of(config) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == "masks":
        path.write_text("a file")
    else:
        path.mkdir()
    with pytest.raises(PisamError, match=rf"{name}: a (folder|file) stands where a (file|folder) is needed"):
        interact(config)


def test_a_log_says_how_far_it_is(
    measured: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five images to search, and four to click that count fivefold."""
    monkeypatch.setattr("pisam.core.terminal.SECONDS", 0)
    interact(replay(measured, tmp_path))
    lines = capsys.readouterr().err.splitlines()
    told = [re.sub(r" %, \d\d:\d\d passed, (\d\d:\d\d|\?) left$", "", line) for line in lines]
    search, clicks = "interact: own and common errors, image", "interact: clicks, image"
    assert told[0] == "interact: 0"
    assert told[1:6] == [f"{search} {number} of 5: {4 * number}" for number in range(1, 6)]
    assert told[6:10] == [f"{clicks} {number} of 4: {20 + 20 * number}" for number in range(1, 5)]


def test_clicks_on_images_that_are_not_here_are_refused_by_name(measured: Config, tmp_path: Path) -> None:
    others = [row for row in measured.data.val if row["name"] != "val"]
    config = replay(measured, tmp_path, data=replace(measured.data, val=others))
    with pytest.raises(PisamError, match=r"of its 4 images are not in data.val: val/\d"):
        interact(config, clicks=folder_of(measured) / "clicks.json")
    assert not folder_of(config).exists()


def test_command_line(measured: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = str(Path(measured.run_dir).parent / "small.yaml")
    clicks = folder_of(measured) / "clicks.json"
    common = ["interact", experiment, f"run_dir={measured.run_dir}", f"clicks={clicks}"]
    assert cli.main([*common, "interact.rounds=5"]) == 2
    error = capsys.readouterr().err
    assert "made with interact.clicks=2, this run has 10; add interact.clicks=2" in error
    assert cli.main([*common, f"clicks={clicks}"]) == 2
    assert "clicks is given twice" in capsys.readouterr().err
    assert cli.main(["interact", experiment, f"clicks={tmp_path / 'absent.json'}"]) == 2
    assert cli.main(["interact", experiment, "interact.image=3"]) == 2
    assert "interact.images" in capsys.readouterr().err
    assert cli.main(["interact", experiment, "interact.rounds=0"]) == 2


def test_hq_sam_takes_part_where_one_is_given(
    measured: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(measured.run_dir).parent
    hq_run = tmp_path / "hq"
    hq = load_config(folder / "small.yaml", ["model.decoder=hq", *SHORT, f"run_dir={hq_run}", *FEW])
    train(hq, 1)
    config = replay(measured, tmp_path)
    interact(config, checkpoints=[hq_run])
    summary = summary_of(config)
    assert summary["benchmark"]["common_error_of"] == ["SAM", "HQ-SAM", "Pi-SAM"]
    plain, masked = ["SAM", "HQ-SAM", "Pi-SAM"], ["SAM+mask", "HQ-SAM+mask"]
    guaranteed = [f"{name}+guarantee" for name in (*masked, "Pi-SAM")]
    assert list(summary["benchmark"]["models"]) == [*plain, *masked, *guaranteed]
    assert summary["hq"]["decoder"] == "hq" and len(summary["hq"]["checkpoint_hash"]) == 64
    with_hq, without = (
        {(i["set"], i["image"]): i["common_area"] for i in json.loads(text)["images"]}
        for text in ((folder_of(c) / "clicks.json").read_text() for c in (config, measured))
    )
    both = with_hq.keys() & without.keys()
    assert both and all(with_hq[image] <= without[image] for image in both)
    # Pi-SAM of another run, by its folder: the same weights, the same numbers.
    written = (folder_of(config) / "per_image.csv").read_text()
    interact(replace(config, run_dir=str(tmp_path / "empty")), checkpoints=[hq_run, Path(config.run_dir)])
    assert (tmp_path / "empty" / "interact" / "per_image.csv").read_text() == written


def test_models_that_cannot_take_part_are_refused_by_name(measured: Config, tmp_path: Path) -> None:
    stage1 = Path(measured.run_dir) / "stage1"
    empty = replace(measured, run_dir=str(tmp_path))
    for config, checkpoints, message in (
        (empty, [], r"needs a trained stage 2.*stage2/checkpoints/best\.ckpt"),
        (empty, [stage1], "one of stage 1, which learned no clicks"),
        (measured, [tmp_path / "absent"], r"checkpoint .*absent: no such file"),
        (measured, [stage1, stage1], "a second model of decoder pi"),
    ):
        with pytest.raises(PisamError, match=message):
            interact(config, checkpoints=checkpoints)
