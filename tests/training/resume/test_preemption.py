"""A signal ends a run after its step, with everything saved; on several ranks: tests/distributed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.core.types import Batch
from pisam.training.logging.throughput import Throughput
from pisam.training.resume.checkpoint_io import VerifiedCheckpointIO
from pisam.training.resume.last_checkpoint import LastCheckpoint
from pisam.training.resume.preemption import SIGNALS, Preemption, leaving_when_told
from pisam.training.stages.decoder_stage import DecoderStage


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


class Seen(Callback):
    """Notes every validation batch."""

    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    def on_validation_batch_start(self, *args: Any) -> None:
        self.seen.append(1)


def fit(
    checkpoint: Path, *callbacks: Callback, steps: int = 5, images: int = 0, **options: Any
) -> Preemption:
    preemption = Preemption()
    last = LastCheckpoint(checkpoint, seconds=3600)
    options |= {"max_steps": steps, "plugins": VerifiedCheckpointIO()}
    trainer = quiet_trainer(last, preemption, *callbacks, **options)
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
    with pytest.raises(SystemExit) as exit_:
        fit(tmp_path / "last.ckpt", sender)
    assert exit_.value.code == 143
    assert sender.ended == [1, 2, 3]
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    assert saved["optimizer_states"][0]["state"] and saved["lr_schedulers"][0]["last_epoch"] == 3
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_accumulated_step_is_completed_first(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path / "last.ckpt", SignalAt("on_before_backward", 3), accumulate_grad_batches=3)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2


def test_signal_before_the_first_step_ends_at_once(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as exit_, leaving_when_told():
        fit(tmp_path / "last.ckpt", SignalAt("on_fit_start"))
    assert exit_.value.code == 143
    assert not (tmp_path / "last.ckpt").exists()


def test_no_validation_is_begun_after_the_signal(tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(SystemExit):
        fit(tmp_path / "last.ckpt", SignalAt("on_before_backward", 4), Seen(seen), images=3)
    assert not seen


def test_validation_is_left_within_a_few_images(tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(SystemExit) as exit_:
        fit(tmp_path / "last.ckpt", SignalAt("on_validation_batch_start", 3), Seen(seen), images=20, steps=1)
    assert exit_.value.code == 143
    assert len(seen) == 8
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 1


def test_training_that_was_over_is_complete_and_says_so(tmp_path: Path) -> None:
    preemption = fit(tmp_path / "last.ckpt", SignalAt("on_validation_batch_start", 1), images=3, steps=1)
    assert preemption.agreed
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 1
    assert not fit(tmp_path / "other.ckpt", steps=1).agreed


class OneNeverComes(Dataset[Batch]):
    """Five batches. In the wait for the third the process is told to go."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Batch:
        if index == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the wait went on")
        return small_batch(seed=index)


def test_signal_in_a_wait_for_a_batch_saves_and_ends_the_wait(tmp_path: Path) -> None:
    speed, last = Throughput(), LastCheckpoint(tmp_path / "last.ckpt", seconds=3600)
    options: dict[str, Any] = {"max_steps": 5, "plugins": VerifiedCheckpointIO(), "profiler": speed.profiler}
    trainer = quiet_trainer(last, Preemption(), speed, **options)
    batches = DataLoader(OneNeverComes(), batch_size=None, collate_fn=lambda batch: batch)
    with pytest.raises(SystemExit) as exit_:
        trainer.fit(DecoderStage(small_model()), batches)
    assert exit_.value.code == 143
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"] == 2
