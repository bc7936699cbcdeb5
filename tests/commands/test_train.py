"""Whole runs through the command's verbs: what they write, how they end, and how they go on."""

from __future__ import annotations

import logging
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from helpers.small_runs import (
    command,
    logged,
    small_config,
    summary,
    wait_until,
    write_experiment,
    write_sets,
)
from pisam import cli
from pisam.commands.train import KEPT_ON_CPU, print_table, train
from pisam.config.load import load_config
from pisam.config.schema import Config, to_plain
from pisam.core.errors import PisamError
from pisam.modeling.checkpoint import load_model

OFFLINE = ("logging.mode=offline", "logging.images=3", "logging.project=small-tests")
SCORES_2 = ["iou_before", "iou_after", "iou_gain", "biou_before", "biou_after", "biou_gain", "improved"]
SCORES_2 += ["oracle", "oracle_share"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures, not to be changed."""
    return write_sets(tmp_path_factory.mktemp("small") / "sets")


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory, sets: Path) -> Config:
    """A run of both stages with offline W&B and pictures."""
    config = small_config(tmp_path_factory.mktemp("complete"), sets, *OFFLINE)
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("WANDB_MODE", raising=False)
        train(config, 1)
        train(config, 2)
    return config


def run_dir(config: Config) -> Path:
    return Path(config.run_dir)


def keys(scores: list[str]) -> set[str]:
    return {f"val/{prefix}{score}" for prefix in ("", "val/", "other/", "pooled/") for score in scores}


def test_layout_of_a_run(complete: Config) -> None:
    for number in (1, 2):
        folder = run_dir(complete) / f"stage{number}"
        names = {str(path.relative_to(folder)) for path in folder.rglob("*") if "wandb" not in path.parts}
        pictures = {name for name in names if name.startswith("pictures/")}
        assert names - pictures == {
            "config.yaml",
            "checkpoints",
            "checkpoints/best.ckpt",
            "checkpoints/last.ckpt",
            "checkpoints/previous.ckpt",
            "metrics.jsonl",
            "summary.json",
            "pictures",
            "wandb_id",
        }
        assert sorted(pictures) == ["pictures/other-0.jpg", "pictures/val-0.jpg", "pictures/val-1.jpg"]


def test_metrics_of_every_step_and_validation(complete: Config) -> None:
    for number, scores in ((1, ["iou", "biou"]), (2, SCORES_2)):
        rows = logged(run_dir(complete), number)
        losses = [row for row in rows if "train/loss" in row]
        assert [row["step"] for row in losses] == list(range(8)), "8 images, batches of 2, two epochs"
        validations = [row for row in rows if "val/iou" in row or "val/iou_after" in row]
        assert [row["epoch"] for row in validations] == [0, 1]
        for row in validations:
            assert row.keys() - {"step", "epoch"} == keys(scores)
        rates = [value for row in rows for key, value in row.items() if key.startswith("lr")]
        assert rates == pytest.approx([0.005 * (1 + math.cos(math.pi * step / 8)) for step in range(8)])


def test_overall_scores_are_the_means_of_the_sets_and_of_all_images(complete: Config) -> None:
    best = summary(run_dir(complete), 2)["best"]
    for score in SCORES_2[:-1]:  # a share is of means
        three, two = best[f"val/val/{score}"], best[f"val/other/{score}"]
        assert best[f"val/{score}"] == pytest.approx((three + two) / 2)
        assert best[f"val/pooled/{score}"] == pytest.approx((3 * three + 2 * two) / 5)
    assert best["val/iou_gain"] == pytest.approx(best["val/iou_after"] - best["val/iou_before"], abs=1e-6)
    assert best["val/iou_before"] == pytest.approx(summary(run_dir(complete), 1)["best"]["val/iou"], abs=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected a JSON object, got list"),
        ('{"best": 3}', "best: expected a dict, got 3"),
        ('{"best": {"val/iou": [0.5]}, "pictures": null}', "expected scores under best"),
        ('{"best": {"val/iou": 1' + "0" * 400 + '}, "pictures": null}', "expected scores under best"),
        ('{"best": {}, "pictures": ["x"]}', "a folder or null as pictures"),
    ],
)
def test_odd_summary_of_a_complete_stage_is_one_line(
    complete: Config, tmp_path: Path, content: str, message: str
) -> None:
    config = replace(complete, run_dir=str(tmp_path / "run"))
    (stage := tmp_path / "run" / "stage1").mkdir(parents=True)
    shutil.copy(run_dir(complete) / "stage1" / "config.yaml", stage)
    (stage / "summary.json").write_text(content)
    with pytest.raises(PisamError, match=message):
        train(config, 1)


@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl", "checkpoints/best.ckpt", "checkpoints"])
def test_what_is_in_the_way_of_a_runs_files_is_refused_before_training(
    tmp_path: Path, sets: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tmp_path, sets)
    monkeypatch.setattr("pisam.commands.train.build_data", lambda *_: pytest.fail("was begun"))
    path = run_dir(config) / "stage1" / name
    path.parent.mkdir(parents=True)
    if name == "checkpoints":
        path.write_text("a file")
    else:
        path.mkdir()
    with pytest.raises(PisamError, match=rf"{name}: a (folder|file) stands where a (file|folder) is needed"):
        train(config, 1)


def test_summary_says_how_the_numbers_were_made(complete: Config) -> None:
    for number, monitor in ((1, "val/iou"), (2, "val/iou_after")):
        written = summary(run_dir(complete), number)
        validations = [row for row in logged(run_dir(complete), number) if monitor in row]
        best = max(validations, key=lambda row: row[monitor])
        assert written["best"] == {k: v for k, v in best.items() if k not in ("step", "epoch")}
        assert written["last"][monitor] == validations[-1][monitor]
        assert (written["stage"], written["seed"], written["steps"], written["best_by"]) == (
            number,
            0,
            8,
            monitor,
        )
        assert written["frozen_hash"] == load_model(checkpoint(complete, number)).frozen_hash()
        assert written["protocol"]["image_size"] == 64
        assert written["seconds"] > 0
        assert written["samples"] == {"train": {"a": 6, "b": 2}, "val": {"val": 3, "other": 2}}


def checkpoint(config: Config, number: int, name: str = "best") -> Path:
    return run_dir(config) / f"stage{number}" / "checkpoints" / f"{name}.ckpt"


def test_saved_configuration_is_that_of_the_run(complete: Config) -> None:
    for number in (1, 2):
        saved = yaml.safe_load((run_dir(complete) / f"stage{number}" / "config.yaml").read_text())
        assert saved == to_plain(complete)


def test_stage_2_changed_the_interactor_alone(complete: Config) -> None:
    before, after = (torch.load(checkpoint(complete, n), weights_only=True)["state_dict"] for n in (1, 2))
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed and all(name.startswith("model.interactor.") for name in changed)


def test_complete_stage_is_not_trained_again(complete: Config, capsys: pytest.CaptureFixture[str]) -> None:
    written = checkpoint(complete, 1).stat().st_mtime_ns
    train(complete, 1)
    said = capsys.readouterr().out
    assert "stage 1" in said and "is complete" in said and "data.root" not in said
    before = complete.data.root
    train(replace(complete, data=replace(complete.data, root="elsewhere")), 1)
    assert f"it was trained and scored with data.root {before}, not elsewhere" in capsys.readouterr().out
    assert checkpoint(complete, 1).stat().st_mtime_ns == written


def test_table_at_the_end(complete: Config, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(complete)
    lines = capsys.readouterr().out.strip().splitlines()
    one, two = (summary(run_dir(complete), number) for number in (1, 2))
    heads = "stage", "IoU", "boundary IoU", "before", "after", "gain", "boundary gain"
    assert lines[0].split() == " ".join(heads).split()
    scores = [one["best"][key] for key in ("val/iou", "val/biou")]
    assert lines[1].split() == ["1", *(f"{score:.3f}" for score in scores), *"----"]
    names = ("iou_after", "biou_after", "iou_before", "iou_after", "iou_gain", "biou_gain")
    assert lines[2].split() == ["2", *(f"{two['best'][f'val/{name}']:.3f}" for name in names)]
    assert lines[3] == f"pictures: {one['pictures']}, {two['pictures']}"


def test_start_says_what_it_does_before_it_does_it(
    tmp_path: Path, sets: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    caplog.set_level(logging.INFO, "pisam")
    train(small_config(tmp_path, sets, "stage1.max_steps=1", "trainer.dry_run=true", *OFFLINE), 1)
    said = [record.message for record in caplog.records if record.name.startswith("pisam.")]
    expected = [
        "data: looking for images and masks ...",
        "train: 8 samples (",
        "data: looking for images and masks: ",
        "network: loading and hashing SAM's weights ...",
        "network: loading and hashing SAM's weights: nano, frozen part ",
        "data: reading files that no audit knows yet ...",
        "data: reading files that no audit knows yet: ",
        "W&B: beginning a run, offline ...",
        "W&B: beginning a run, offline: ",
        "memory: forward and backward of a batch of 2 at 64 px ...",
        "memory: with a batch of 2 at 64 px the process has taken ",
        "first batch: waiting for 1 x loader ...",
        "first batch: 2 images after ",
        "first step: done ",
    ]
    order = [next(i for i, line in enumerate(said) if line.startswith(start)) for start in expected]
    assert order == sorted(order)


def test_a_step_on_a_cpu_leaves_its_memory_to_the_next(
    tmp_path: Path, sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    monkeypatch.setattr("pisam.commands.train.keep_memory", kept.append)
    train(small_config(tmp_path, sets, "stage1.max_steps=1"), 1)
    assert kept == [KEPT_ON_CPU]


def test_disabled_logging_touches_no_wandb(tmp_path: Path, sets: Path) -> None:
    """In a process of its own: nothing of W&B is loaded, nothing is written."""
    file = write_experiment(tmp_path, sets)
    code = (
        "import sys; from pisam import cli; "
        f"code = cli.main(['train', {str(file)!r}, 'stage=1', 'stage1.max_steps=1', "
        f"'run_dir={tmp_path / 'run'}']); "
        "sys.exit(code or ('wandb' in sys.modules))"
    )
    environment = {"PYTHONPATH": str(Path(cli.__file__).parents[1]), "PATH": "", "OMP_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert not list(tmp_path.rglob("*wandb*"))


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, sets: Path) -> tuple[Config, int]:
    """A run that got Ctrl-C after its first checkpoint, and its exit code."""
    folder = tmp_path_factory.mktemp("interrupted")
    overrides = ["stage1.epochs=6", f"run_dir={folder / 'run'}"]
    config = small_config(folder, sets, *overrides)
    process = command(
        "train",
        str(folder / "small.yaml"),
        "stage=1",
        *overrides,
        # A shell that runs tests in the background has taught its children to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_until(process, checkpoint(config, 1, "last").is_file)
    process.send_signal(signal.SIGINT)
    process.communicate()
    return config, process.returncode


def test_ctrl_c_exits_with_130_and_loses_no_checkpoint(interrupted: tuple[Config, int]) -> None:
    config, code = interrupted
    assert code == 130
    assert torch.load(checkpoint(config, 1, "last"), weights_only=True)["global_step"] >= 4
    assert not (run_dir(config) / "stage1" / "summary.json").exists()


def test_interrupted_run_of_another_configuration_is_refused(
    interrupted: tuple[Config, int], sets: Path
) -> None:
    config, _ = interrupted
    other = small_config(run_dir(config).parent, sets, "stage1.epochs=6", "stage1.lr=0.02")
    with pytest.raises(PisamError, match=r"stage1\.lr=0\.01, now it is 0\.02; choose another run_dir"):
        train(other, 1)


def test_the_same_command_completes_an_interrupted_run(
    interrupted: tuple[Config, int], capsys: pytest.CaptureFixture[str]
) -> None:
    config, _ = interrupted
    steps = torch.load(checkpoint(config, 1, "last"), weights_only=True)["global_step"]
    config.trainer.max_time = "00:10:00:00"  # where and how long may change
    train(config, 1)
    assert "resuming stage 1" in capsys.readouterr().out
    assert summary(run_dir(config), 1)["steps"] == 24
    last_attempt = [row["step"] for row in logged(run_dir(config), 1) if "train/loss" in row][-(24 - steps) :]
    assert last_attempt == list(range(steps, 24))


def test_run_stopped_by_time_is_not_complete(
    tmp_path: Path, sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(tmp_path, sets, "trainer.max_time=00:00:00:00", "stage1.epochs=3")
    train(config, 1)
    assert "stopped at trainer.max_time" in capsys.readouterr().out
    assert not (run_dir(config) / "stage1" / "summary.json").exists()


def change_mask(root: Path, change: Callable[[Image.Image], Image.Image]) -> None:
    path = root / "a" / "masks" / "3.png"
    with Image.open(path) as mask:
        changed = change(mask)
    changed.save(path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing root": (shutil.rmtree, "no root folder"),
    "empty folder": (
        lambda root: (shutil.rmtree(root / "a/images"), (root / "a/images").mkdir()),
        "a/images: no image",
    ),
    "image without mask": (
        lambda root: (root / "a/masks/3.png").unlink(),
        "a/images/3.jpg: image without mask",
    ),
    "mask of another size": (
        lambda root: change_mask(root, lambda mask: mask.resize((30, 30))),
        "a/masks/3.png: the mask is 30x30",
    ),
    "unreadable image": (lambda root: truncate(root / "a/images/3.jpg"), "a/images/3.jpg: "),
    "unreadable validation mask": (lambda root: truncate(root / "other/masks/1.png"), "other/masks/1.png: "),
    "empty mask": (
        lambda root: change_mask(root, lambda mask: mask.point(lambda _: 0)),
        "a/masks/3.png: the mask is empty",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_data_is_one_line_before_anything_is_written(
    case: str, tmp_path: Path, sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, message = DAMAGES[case]
    root = tmp_path / "sets"
    shutil.copytree(sets, root)
    damage(root)
    code = cli.main(
        ["train", str(write_experiment(tmp_path, root)), "stage=1", f"run_dir={tmp_path / 'run'}"]
    )
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stage=1", "model.backbone=vit_x"), "model.backbone: got 'vit_x', expected one of nano, vit_t"),
        (("stage=1", "model.bakbone=nano"), "unknown key model.bakbone; did you mean model.backbone?"),
        (("stage=1", "data.val=[]"), "data.val: no set to validate on"),
        (("stage=1", "data.train=[]"), "data.train: no source to train on"),
        (("stage=1", "data.train=[DIS5K-TX]"), "unknown data set DIS5K-TX; did you mean DIS5K-TR?"),
        (("stage=1", "data.generate=true"), "model.image_size: data.generate needs at least 256, got 64"),
        (("stage=2",), "stage 2 needs a trained stage 1"),
    ],
)
def test_bad_configuration_is_one_line_before_anything_is_written(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    sets: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write_experiment(tmp_path, sets)
    assert cli.main(["train", str(file), *arguments, f"run_dir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "run").exists()


def test_error_in_a_worker_process_is_one_line(
    complete: Config, tmp_path: Path, sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that was damaged after the run began."""
    root = tmp_path / "sets"
    shutil.copytree(sets, root)
    truncate(root / "val" / "images" / "1.jpg")
    file = write_experiment(tmp_path, root)
    assert cli.main(["evaluate", str(file), f"run_dir={complete.run_dir}", "data.workers=1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith(f"error: {root}/val/images/1.jpg: ")
    assert "Traceback" not in error


def test_attempt_without_a_checkpoint_gives_way_to_another_configuration(tmp_path: Path, sets: Path) -> None:
    config = small_config(tmp_path, sets, "stage1.max_steps=1")
    folder = run_dir(config) / "stage1"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: other\n")
    (folder / "metrics.jsonl").write_text('{"step": 0, "train/loss": 99.0}\n')
    train(config, 1)
    assert load_config(folder / "config.yaml").name == "small"
    assert [row["step"] for row in logged(run_dir(config), 1) if "train/loss" in row] == [0]
