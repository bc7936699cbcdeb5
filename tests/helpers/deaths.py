"""Runs that die in a hook, and runs that must be equal bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from helpers.small_runs import logged, summary
from pisam.commands import train as train_command
from pisam.commands.train import train
from pisam.config.schema import Config
from pisam.modeling.sam_weights import read_checkpoint
from pisam.training.trainer import build_callbacks

Death = tuple[str, int]  # a hook, and how often it comes by before


class Killed(BaseException):
    """What nothing handles."""


class Stop(Callback):
    """What `trainer.max_time` does after the first step."""

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        trainer.should_stop = True


class Die(Callback):
    """Raises in one hook, after `count` times."""

    def __init__(self, hook: str, count: int) -> None:
        def die(*args: Any) -> None:
            nonlocal count
            count -= 1
            if count == -1:
                raise Killed

        setattr(self, hook, die)


def train_through(config: Config, number: int, *deaths: Death) -> None:
    """One attempt per death, each of which must come, and a last one to the end."""
    for death in deaths:
        with pytest.raises(Killed):
            train_with(config, number, Die(*death))
        assert not (Path(config.run_dir) / f"stage{number}" / "summary.json").exists()
    train(config, number)


def train_with(config: Config, number: int, callback: Callback) -> None:
    """One attempt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_command, "build_callbacks", lambda *a: [*build_callbacks(*a), callback])
        train(config, number)


def assert_same(one: Config, other: Config, number: int) -> None:
    """Weights, optimiser, schedule, best weights, rows and summary of two runs are equal."""
    first, second = Path(one.run_dir), Path(other.run_dir)
    for name in ("last", "best"):
        mine, theirs = (
            read_checkpoint(run / f"stage{number}" / "checkpoints" / f"{name}.ckpt")
            for run in (first, second)
        )
        assert mine["global_step"] == theirs["global_step"]
        for key in ("state_dict", "optimizer_states", "lr_schedulers"):
            assert_equal(mine[key], theirs[key])
    assert rows(first, number) == rows(second, number)
    for key in ("steps", "best", "last"):
        assert summary(first, number)[key] == summary(second, number)[key]


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list):
        for mine, theirs in zip(one, other, strict=True):
            assert_equal(mine, theirs)
    else:
        assert one == other


def rows(run: Path, number: int) -> list[dict[str, float]]:
    """What was logged, but for measured times."""
    kept = ("step", "epoch", "train/loss", "train/low_res", "train/clicks")
    return [
        {key: value for key, value in row.items() if key in kept or key.startswith(("val/", "lr-"))}
        for row in logged(run, number)
    ]
