"""The same command again on other grounds: other images, another precision, another process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from helpers.deaths import Die, Killed, train_with
from helpers.small_runs import (
    command,
    logged,
    small_config,
    summary,
    wait_until,
    write_experiment,
    write_sets,
)
from helpers.stage1_runs import save_stage_1
from pisam import cli
from pisam.commands.train import train
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.core.lock import lock_file
from pisam.modeling.checkpoint import read_own_checkpoint
from pisam.training.resume.last_checkpoint import KEY


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    return write_sets(tmp_path / "sets")


def begun(tmp_path: Path, sets: Path, *overrides: str) -> Config:
    """A run that died before its third step, of eight."""
    config = small_config(tmp_path, sets, "trainer.save_seconds=0", *overrides)
    with pytest.raises(Killed):
        train_with(config, 1, Die("on_before_backward", 2))
    return config


def copy_image(sets: Path, name: str, new: str) -> None:
    for part, suffix in (("images", ".jpg"), ("masks", ".png")):
        shutil.copy(sets / name / part / f"0{suffix}", sets / name / part / f"{new}{suffix}")


def test_run_knows_its_images(tmp_path: Path, sets: Path) -> None:
    config = begun(tmp_path, sets)
    last = Path(config.run_dir) / "stage1" / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    copy_image(sets, "a", "new")
    with pytest.raises(
        PisamError,
        match=r"begun with 8 samples \(a 6, b 2\) in data\.train, now there are 9 samples \(a 7, b 2\); put",
    ):
        train(config, 1)
    aside = tmp_path / "aside"
    aside.mkdir()
    for file in ("a/images/5.jpg", "a/masks/5.png"):
        (sets / file).rename(aside / Path(file).name)
    with pytest.raises(PisamError, match=r"8 samples \(a 6, b 2\), of other names; put back"):
        train(config, 1)
    assert last.read_bytes() == before
    for file in ("a/images/5.jpg", "a/masks/5.png"):
        (aside / Path(file).name).rename(sets / file)
    (sets / "a/images/new.jpg").unlink(), (sets / "a/masks/new.png").unlink()
    for file in ("val/images/2.jpg", "val/masks/2.png"):
        (sets / file).rename(aside / Path(file).name)
    with pytest.raises(PisamError, match=r"5 samples \(val 3, other 2\) in data\.val, now there are 4"):
        train(config, 1)
    for file in ("val/images/2.jpg", "val/masks/2.png"):
        (aside / Path(file).name).rename(sets / file)
    mask = (sets / "a/masks/5.png").read_bytes()
    Image.new("L", Image.open(sets / "a/masks/5.png").size, 255).save(sets / "a/masks/5.png")
    with pytest.raises(PisamError, match=r"8 samples \(a 6, b 2\), in files of other sizes; put back"):
        train(config, 1)
    other = (sets / "a/masks/5.png").read_bytes()
    (sets / "a/masks/5.png").write_bytes(other.ljust(len(mask), b"\0"))
    with pytest.raises(PisamError, match=r"8 samples \(a 6, b 2\), in files of other contents; put back"):
        train(config, 1)
    (sets / "a/masks/5.png").write_bytes(mask)
    train(config, 1)
    assert summary(Path(config.run_dir), 1)["steps"] == 8


def test_checkpoint_of_an_older_version_goes_on(tmp_path: Path, sets: Path) -> None:
    config = begun(tmp_path, sets)
    folder = Path(config.run_dir) / "stage1"
    last = folder / "checkpoints" / "last.ckpt"
    contents = read_own_checkpoint(last)
    del contents[KEY]["samples"], contents[KEY]["planned"]
    torch.save(contents, last)
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    del saved["loss"]["near_clicks"], saved["logging"]["every"]
    (folder / "config.yaml").write_text(yaml.safe_dump(saved))
    train(config, 1)
    assert summary(Path(config.run_dir), 1)["steps"] == 8


def test_stage_2_knows_its_stage_1(tmp_path: Path, sets: Path) -> None:
    """Else it goes on with the one it holds, and its features are kept as those of the other."""
    config = small_config(tmp_path, sets, "trainer.save_seconds=0", "stage2.views=1")
    save_stage_1(config, Path(config.run_dir))
    with pytest.raises(Killed):
        train_with(config, 2, Die("on_before_backward", 2))
    shutil.rmtree(Path(config.run_dir) / "stage1")
    config.seed = 1
    save_stage_1(config, Path(config.run_dir))
    config.seed = 0
    config.stage2.cache = str(tmp_path / "features")
    with pytest.raises(PisamError, match=r"last\.ckpt: this run was begun on another stage 1 than .*best"):
        train(config, 2)
    assert not (tmp_path / "features").exists()
    stage2 = Path(config.run_dir) / "stage2"
    shutil.copy(stage2 / "checkpoints" / "last.ckpt", stage2 / "checkpoints" / "best.ckpt")
    (stage2 / "summary.json").write_text('{"best": {}}')  # as if complete
    with pytest.raises(PisamError, match=r"best\.ckpt: this run was begun on another stage 1"):
        train(config, 2)
    config.stage2.from_ = None
    shutil.rmtree(Path(config.run_dir) / "stage1")
    train(config, 2)  # what is gone is no other


def test_run_of_another_length_is_refused(tmp_path: Path, sets: Path) -> None:
    config = begun(tmp_path, sets)
    last = Path(config.run_dir) / "stage1" / "checkpoints" / "last.ckpt"
    contents = read_own_checkpoint(last)
    contents[KEY]["planned"] = 12
    torch.save(contents, last)
    with pytest.raises(PisamError, match="begun for 12 steps, now it would be one of 8"):
        train(config, 1)


def test_precision_may_not_change_and_the_saved_configuration_is_what_runs(
    tmp_path: Path, sets: Path
) -> None:
    config = begun(tmp_path, sets)
    config.trainer.precision = "bf16-mixed"
    with pytest.raises(PisamError, match=r"trainer\.precision=32-true, now it is bf16-mixed"):
        train(config, 1)
    config.trainer.precision = "32-true"
    config.data.workers = 1
    train(config, 1)
    saved = yaml.safe_load((Path(config.run_dir) / "stage1" / "config.yaml").read_text())
    assert (saved["data"]["workers"], saved["trainer"]["precision"]) == (1, "32-true")


@pytest.mark.parametrize("accumulate", [2, 9])
def test_a_steps_gradient_does_not_depend_on_accumulate(tmp_path: Path, sets: Path, accumulate: int) -> None:
    """One batch an epoch, which is a window of one."""
    row = "data.train=[{name: b, images: b/images, masks: b/masks}]"
    norms = []
    for count in (1, accumulate):
        folder = tmp_path / str(count)
        folder.mkdir()
        config = small_config(folder, sets, row, f"stage1.accumulate={count}", "stage1.epochs=2")
        train(config, 1)
        norms.append(
            [r["train/grad_norm"] for r in logged(Path(config.run_dir), 1) if "train/grad_norm" in r]
        )
    assert len(norms[0]) == 2 and norms[0][0] > 0
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)


def test_stage_is_validated_at_its_end_whatever_val_every_says(tmp_path: Path, sets: Path) -> None:
    config = small_config(tmp_path, sets, "stage1.val_every=2", "stage1.epochs=3", "stage2.max_steps=1")
    train(config, 1)
    rows = [row for row in logged(Path(config.run_dir), 1) if "val/iou" in row]
    assert [row["epoch"] for row in rows] == [1, 2]
    config = small_config(
        tmp_path, sets, "stage1.val_every=5", f"run_dir={tmp_path / 'late'}", "stage2.max_steps=1"
    )
    train(config, 1)
    assert summary(Path(config.run_dir), 1)["best"]["val/iou"] >= 0
    assert (Path(config.run_dir) / "stage1" / "checkpoints" / "best.ckpt").is_file()
    train(config, 2)


def test_rows_come_as_often_as_logging_every_says(tmp_path: Path, sets: Path) -> None:
    config = small_config(tmp_path, sets, "logging.every=3")
    train(config, 1)
    assert [row["step"] for row in logged(Path(config.run_dir), 1) if "train/loss" in row] == [2, 5]


def test_second_process_in_a_run_is_refused_and_the_first_goes_on(
    tmp_path: Path, sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, experiment = tmp_path / "run", write_experiment(tmp_path, sets)
    arguments = ["train", str(experiment), "stage=1", "stage1.epochs=8", f"run_dir={run}"]
    first = command(*arguments)
    wait_until(first, lambda: (run / "stage1" / "checkpoints" / "last.ckpt").is_file())
    assert cli.main(arguments) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert f"{run / 'stage1'}: in use by process {first.pid} on " in error
    _, told = first.communicate(timeout=600)
    assert first.returncode == 0, told[-3000:]
    assert [row["step"] for row in logged(run, 1) if "train/loss" in row] == list(range(32))
    assert not lock_file(run / "stage1").exists()


def test_absurd_learning_rate_ends_in_one_line(
    tmp_path: Path, sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = write_experiment(tmp_path, sets)
    arguments = [
        "train",
        str(experiment),
        "stage=1",
        "stage1.lr=1e10",
        "stage1.epochs=20",
        f"run_dir={tmp_path / 'run'}",
    ]
    assert cli.main(arguments) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert "stage1.lr" in error or "learning rate" in error
