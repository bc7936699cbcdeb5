"""A signal ends a run after its step, with everything saved; on several ranks: tests/distributed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from pisam.callbacks.preemption import SIGNALS, Preempted, Preemption
from pisam.stages.decoder_stage import DecoderStage
from small_runs import loader, quiet_trainer, small_batch, small_model


class SignalAt(Callback):
    """Sends this process a signal in one hook, the `count`-th time it comes by."""

    def __init__(self, hook: str, count: int = 0, number: int = signal.SIGTERM) -> None:
        self.ended: list[int] = []

        def send(*args: Any) -> None:
            nonlocal count
            count -= 1
            if count == -1:
                os.kill(os.getpid(), number)

        setattr(self, hook, send)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.ended.append(trainer.global_step)


def fit(
    checkpoint: Path, *callbacks: Callback, steps: int = 5, images: int = 0, **options: Any
) -> Preemption:
    preemption = Preemption(checkpoint)
    trainer = quiet_trainer(*callbacks, preemption, max_steps=steps, **options)
    batches = steps * options.get("accumulate_grad_batches", 1)
    validation = loader(*(small_batch(1, seed=seed) for seed in range(images))) if images else None
    trainer.fit(
        DecoderStage(small_model()), loader(*(small_batch(seed=s) for s in range(batches))), validation
    )
    return preemption


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_saves_after_the_step_and_exits_with_143(tmp_path: Path, number: int) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    sender = SignalAt("on_before_backward", 2, number)
    with pytest.raises(Preempted) as exit_:
        fit(tmp_path / "last.ckpt", sender)
    assert exit_.value.code == 143
    assert sender.ended == [1, 2, 3]
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    assert saved["optimizer_states"][0]["state"] and saved["lr_schedulers"][0]["last_epoch"] == 3
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_accumulated_step_is_completed_first(tmp_path: Path) -> None:
    with pytest.raises(Preempted):
        fit(tmp_path / "last.ckpt", SignalAt("on_before_backward", 3), accumulate_grad_batches=3)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2


def test_signal_that_lightning_caught_first_is_heard(tmp_path: Path) -> None:
    with pytest.raises(SIGTERMException):  # Lightning's, after our save
        fit(tmp_path / "last.ckpt", SignalAt("on_train_start"))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 1


def test_no_validation_is_begun_after_the_signal(tmp_path: Path) -> None:
    begun = []

    class Begun(Callback):
        def on_validation_batch_start(self, *args: Any) -> None:
            begun.append(args)

    with pytest.raises(Preempted):
        fit(tmp_path / "last.ckpt", SignalAt("on_before_backward", 4), Begun(), images=3)
    assert not begun
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 5


def test_validation_is_left_within_a_few_images(tmp_path: Path) -> None:
    seen: list[int] = []

    class Seen(Callback):
        def on_validation_batch_end(self, *args: Any) -> None:
            seen.append(args[-1])

    with pytest.raises(Preempted):
        fit(tmp_path / "last.ckpt", SignalAt("on_validation_batch_start", 3), Seen(), images=20, steps=1)
    assert len(seen) == 9


def test_training_that_was_over_is_complete_and_says_so(tmp_path: Path) -> None:
    preemption = fit(tmp_path / "last.ckpt", SignalAt("on_validation_batch_start", 1), images=3, steps=1)
    assert preemption.agreed
    assert not fit(tmp_path / "last.ckpt", steps=1).agreed
