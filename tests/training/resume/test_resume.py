"""Runs that die at any place and are started again end bit by bit like one that was left alone.

Death is an exception here, after which nothing is saved; real signals: tests/distributed/test_killed.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import wandb

from helpers.deaths import Die, Killed, Stop, assert_same, rows, train_through, train_with
from helpers.small_runs import logged, small_config, write_sets
from pisam.commands.train import train
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.modeling.sam_weights import read_checkpoint


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("small") / "sets")


def pair(folder: Path, sets: Path, *overrides: str) -> tuple[Config, Config]:
    """The configurations of a run left alone, and of one that dies, with a save after each step."""
    alone = small_config(folder, sets, *overrides, f"run_dir={folder / 'alone'}")
    dying = small_config(folder, sets, *overrides, f"run_dir={folder / 'dying'}", "trainer.save_seconds=0")
    return alone, dying


@pytest.mark.slow
def test_stage_1_dies_everywhere(tmp_path: Path, sets: Path) -> None:
    """Four steps and five validated images an epoch."""
    alone, dying = pair(tmp_path, sets, "stage1.epochs=2")
    train(alone, 1)
    train_through(
        dying,
        1,
        ("on_before_backward", 0),  # nothing saved: begins again
        ("on_before_backward", 2),
        ("on_train_batch_end", 0),  # again in this epoch; a step is taken, and not logged
        ("on_validation_batch_start", 2),
        ("on_validation_end", 0),  # scored and logged, not saved
        ("on_train_epoch_start", 0),  # the next epoch's
        ("on_before_backward", 1),
        ("on_validation_start", 0),
        ("on_train_epoch_end", 0),
        ("on_train_end", 0),
    )
    assert_same(alone, dying, 1)
    steps = [row["step"] for row in logged(Path(dying.run_dir), 1) if "train/loss" in row]
    assert steps == list(range(8))


@pytest.fixture(scope="module")
def stage_1(tmp_path_factory: pytest.TempPathFactory, sets: Path) -> Path:
    """A trained decoder to start from."""
    config = small_config(tmp_path_factory.mktemp("stage1"), sets, "stage1.max_steps=2")
    train(config, 1)
    return Path(config.run_dir)


def test_stage_2_with_cached_features_accumulated_gradients_and_averages(
    tmp_path: Path, sets: Path, stage_1: Path
) -> None:
    """Batches of 2 accumulated by 3: the steps of an epoch take 3 batches and 1."""
    overrides = (
        "stage2.epochs=3",
        "stage2.views=1",
        "stage2.ema=0.5",
        "stage2.accumulate=3",
        f"stage2.from={stage_1}",
    )
    alone, dying = pair(tmp_path, sets, *overrides)
    train(alone, 2)
    train_through(
        dying,
        2,
        ("on_before_backward", 3),
        ("on_before_backward", 2),  # amid accumulated gradients
        ("on_validation_batch_start", 1),
        ("on_train_batch_start", 3),
    )
    assert_same(alone, dying, 2)


def test_steps_that_do_not_fill_epochs_are_validated_once_at_the_end(tmp_path: Path, sets: Path) -> None:
    """Three steps of 3, 1 and 3 batches."""
    alone, dying = pair(tmp_path, sets, "stage1.max_steps=3", "stage1.accumulate=3")
    train(alone, 1)
    assert [row["epoch"] for row in rows(Path(alone.run_dir), 1) if "val/iou" in row] == [1]
    train_through(
        dying,
        1,
        ("on_before_backward", 3),
        ("on_before_backward", 1),
        ("on_validation_batch_start", 3),  # all steps are taken
        ("on_validation_end", 0),
        ("on_train_end", 0),
    )
    assert_same(alone, dying, 1)


def test_run_that_was_stopped_by_time_goes_on_with_other_workers(
    tmp_path: Path, sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stops after a step; its validation there is none of the run's own."""
    alone, dying = pair(tmp_path, sets, "stage1.epochs=2")
    train(alone, 1)
    for steps in (1, 2, 3):
        train_with(dying, 1, Stop())
        assert read_checkpoint(Path(dying.run_dir) / "stage1/checkpoints/last.ckpt")["global_step"] == steps
    dying.data.workers = 2
    train(dying, 1)
    assert "your dataloader is not resumable" not in capsys.readouterr().err
    assert_same(alone, dying, 1)


def test_other_number_of_ranks_is_refused(tmp_path: Path, sets: Path) -> None:
    config = small_config(tmp_path, sets, "stage1.epochs=1", "trainer.save_seconds=0")
    with pytest.raises(Killed):
        train_with(config, 1, Die("on_before_backward", 2))
    last = Path(config.run_dir) / "stage1/checkpoints/last.ckpt"
    contents = read_checkpoint(last)
    contents["pisam_position"]["ranks"] = 8
    torch.save(contents, last)
    with pytest.raises(PisamError, match="started on 8 ranks, now there are 1"):
        train(config, 1)


def test_stage_2_waits_for_an_unfinished_stage_1(tmp_path: Path, sets: Path) -> None:
    config = small_config(tmp_path, sets)
    train_with(config, 1, Stop())
    with pytest.raises(PisamError, match=r"stage 1 in .* is not complete: run stage=1 again"):
        train(config, 2)


def test_moved_run_remembers_its_best_score(tmp_path: Path, sets: Path) -> None:
    alone, dying = pair(tmp_path, sets, "stage1.epochs=3", "stage1.lr=0.03")
    train(alone, 1)
    scores = [row["val/iou"] for row in rows(Path(alone.run_dir), 1) if "val/iou" in row]
    best = scores.index(max(scores)) + 1
    assert best < 3, "the best is not the last"
    with pytest.raises(Killed):
        train_with(dying, 1, Die("on_train_batch_end", 4 * best))
    moved = tmp_path / "moved"
    Path(dying.run_dir).rename(moved)
    dying.run_dir = str(moved)
    train(dying, 1)
    assert_same(alone, dying, 1)


def test_damaged_last_is_told_loudly_and_the_previous_continues(
    tmp_path: Path, sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone, dying = pair(tmp_path, sets, "stage1.epochs=1")
    train(alone, 1)
    with pytest.raises(Killed):
        train_with(dying, 1, Die("on_before_backward", 3))
    folder = Path(dying.run_dir) / "stage1" / "checkpoints"
    data = bytearray((folder / "last.ckpt").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "last.ckpt").write_bytes(data)
    (folder / ".last.ckpt.123.tmp").touch()
    capsys.readouterr()
    train(dying, 1)
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
    assert (
        f"{folder / 'last.ckpt'}: damaged" in warning
        and f"continuing from {folder / 'previous.ckpt'}" in warning
    )
    assert (folder / "last.ckpt.damaged").read_bytes() == data
    assert not list(folder.glob(".*"))
    assert_same(alone, dying, 1)


def test_resumed_run_keeps_its_wandb_run(tmp_path: Path, sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    config = small_config(tmp_path, sets, "stage1.epochs=1", "logging.mode=offline", "trainer.save_seconds=0")
    with pytest.raises(Killed):
        train_with(config, 1, Die("on_before_backward", 2))
    wandb.finish()  # what the end of a process does
    train(config, 1)
    folder = Path(config.run_dir) / "stage1"
    runs_of_both = {path.name.rpartition("-")[2] for path in (folder / "wandb").glob("offline-run-*")}
    assert runs_of_both == {(folder / "wandb_id").read_text().strip()}


def test_hostile_configuration_of_a_run_is_refused_and_not_executed(tmp_path: Path, sets: Path) -> None:
    config = small_config(tmp_path, sets)
    train_with(config, 1, Stop())
    for hostile in (
        f"name: !!python/object/apply:os.mkdir ['{tmp_path / 'exploded'}']\n",
        "name: ${oc.env:HOME}\n",
        "- a list\n",
        "",
    ):
        (Path(config.run_dir) / "stage1" / "config.yaml").write_text(hostile)
        with pytest.raises(PisamError, match=r"stage1/config\.yaml: "):
            train(config, 1)
    (Path(config.run_dir) / "stage1" / "config.yaml").unlink()
    with pytest.raises(PisamError, match=r"stage1/config\.yaml: not readable as the configuration"):
        train(config, 1)
    assert not (tmp_path / "exploded").exists()
