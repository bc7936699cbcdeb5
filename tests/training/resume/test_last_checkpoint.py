"""When `last.ckpt` is written and what it holds; exact continuation: tests/test_resume.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.modeling.sam_weights import read_checkpoint
from pisam.training.resume import last_checkpoint
from pisam.training.resume.checkpoint_io import VerifiedCheckpointIO
from pisam.training.resume.last_checkpoint import LastCheckpoint, save_last
from pisam.training.stages.decoder_stage import DecoderStage


class Watch(Callback):
    """The steps that `last.ckpt` holds at the start of each batch, and what asking for a save answers."""

    def __init__(self, path: Path, ask: str = "") -> None:
        self.path = path
        self.steps: list[int | None] = []
        self.answers: list[bool] = []
        if ask:
            setattr(self, ask, lambda trainer, *args: self.answers.append(save_last(trainer)))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.steps.append(read_checkpoint(self.path)["global_step"] if self.path.exists() else None)


def fit(watch: Watch, *, seconds: float, **options: Any) -> Trainer:
    plugins = [VerifiedCheckpointIO(), *options.pop("plugins", [])]
    callbacks = [LastCheckpoint(watch.path, seconds=seconds), watch]
    trainer = quiet_trainer(*callbacks, plugins=plugins, **{"max_steps": 6, **options})
    batches = loader(*(small_batch(1, seed=seed) for seed in range(3)))
    trainer.fit(DecoderStage(small_model()), batches, batches)
    return trainer


def test_saves_around_validations_at_the_end_and_when_it_is_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs of three steps, of ten seconds each by the callback's clock."""
    path = tmp_path / "last.ckpt"
    now = 0.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    class Slow(Watch):
        def on_train_batch_end(self, *args: Any) -> None:
            nonlocal now
            now += 10

    monkeypatch.setattr(last_checkpoint, "time", Clock)
    rare, timed = Slow(path), Slow(tmp_path / "timed" / "last.ckpt")
    fit(rare, seconds=1000)
    assert rare.steps == [None, None, None, 3, 3, 3]
    assert read_checkpoint(path)["global_step"] == 6
    fit(timed, seconds=20)
    assert timed.steps == [None, None, 2, 3, 3, 5]


@pytest.mark.parametrize(
    ("hook", "answers"),
    [
        ("on_train_batch_end", [False] * 6),  # not logged yet
        ("on_train_epoch_start", [False, True]),  # nothing done, an epoch done
        ("on_validation_batch_end", [True] * 6),
    ],
)
def test_where_there_is_a_moment_to_save(tmp_path: Path, hook: str, answers: list[bool]) -> None:
    watch = Watch(tmp_path / "last.ckpt", ask=hook)
    fit(watch, seconds=1000)
    assert watch.answers == answers


def test_trainer_without_the_callback_saves_nothing() -> None:
    assert not save_last(quiet_trainer())


def test_only_the_trained_part_is_kept_and_no_time_of_an_attempt(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "last.ckpt")
    fit(watch, seconds=1000, max_steps=1, max_time="00:01:00:00")
    saved = read_checkpoint(watch.path)
    assert not [
        name for name in saved["state_dict"] if "encoder" in name.split(".")[1:2] or "sam_decoder" in name
    ]
    assert saved["state_dict"].keys() >= {"model.interactor.residual.weight"}
    assert not [name for name in saved["callbacks"] if name.startswith("Timer")]
    assert "hyper_parameters" not in saved


def test_loss_scaler_is_kept_and_restored(tmp_path: Path) -> None:
    def scaler() -> torch.amp.GradScaler:
        return torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)

    class Scale(Watch):
        def on_train_start(self, trainer: Trainer, *args: Any) -> None:
            self.scale = trainer.precision_plugin.scaler.get_scale()

    def plugins() -> dict[str, Any]:
        return {"precision": None, "plugins": [MixedPrecision("16-mixed", "cpu", scaler())]}

    watch = Scale(tmp_path / "last.ckpt")
    fit(watch, seconds=1000, max_steps=3, **plugins())
    saved = read_checkpoint(watch.path)["MixedPrecision"]
    assert watch.scale == 4.0 and saved["scale"] == 8.0 and saved["_growth_tracker"] == 1
    trainer = quiet_trainer(
        LastCheckpoint(watch.path, seconds=1000),
        again := Scale(watch.path),
        max_steps=4,
        precision=None,
        plugins=[VerifiedCheckpointIO(), *plugins()["plugins"]],
    )
    batches = loader(*(small_batch(1, seed=seed) for seed in range(3)))
    trainer.fit(DecoderStage(small_model()), batches, batches, ckpt_path=str(watch.path))
    assert again.scale == 8.0
    assert trainer.precision_plugin.state_dict()["scale"] == 16.0, "its count went on too"
