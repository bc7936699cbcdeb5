"""The callbacks' place in the list changes nothing, also where a run dies and goes on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from helpers.deaths import Die, Killed, assert_same
from helpers.small_runs import small_config, write_sets
from pisam.commands import train as train_command
from pisam.commands.train import train
from pisam.config.schema import Config
from pisam.training.trainer import build_callbacks


def train_shuffled(config: Config, number: int, seed: int, *more: Callback) -> None:
    """One attempt with the callbacks in another order."""

    def shuffled(*arguments: object) -> list[Callback]:
        callbacks = [*build_callbacks(*arguments), *more]  # type: ignore[arg-type]
        random.Random(seed).shuffle(callbacks)
        return callbacks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_command, "build_callbacks", shuffled)
        train(config, number)


@pytest.mark.slow
def test_shuffled_callbacks_end_like_those_in_their_order(tmp_path: Path) -> None:
    sets = write_sets(tmp_path / "sets")
    overrides = ("stage1.max_steps=2", "stage2.epochs=2", "stage2.ema=0.5", "logging.images=2")
    alone, dying = (
        small_config(tmp_path, sets, *overrides, "trainer.save_seconds=0", f"run_dir={tmp_path / name}")
        for name in ("alone", "dying")
    )
    for number in (1, 2):
        train(alone, number)
    train_shuffled(dying, 1, seed=0)
    assert_same(alone, dying, 1)
    for seed, (hook, count) in enumerate(
        (("on_before_backward", 2), ("on_train_batch_end", 1), ("on_validation_batch_start", 2)), start=1
    ):
        with pytest.raises(Killed):
            train_shuffled(dying, 2, seed, Die(hook, count))
    train_shuffled(dying, 2, seed=9)
    assert_same(alone, dying, 2)
