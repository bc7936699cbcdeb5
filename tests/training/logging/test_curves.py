"""Gradient norms and throughput as the loggers get them."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from helpers.small_runs import loader, logged, quiet_trainer, small_batch, small_model
from pisam.training.callbacks.guards import FiniteLoss
from pisam.training.logging.loggers import JsonLinesLogger
from pisam.training.logging.throughput import FetchTimer, Throughput
from pisam.training.stages.decoder_stage import DecoderStage


def fit(folder: Path, *callbacks: Callback, **options: Any) -> list[dict[str, float]]:
    (folder / "stage1").mkdir()
    trainer = quiet_trainer(
        *callbacks,
        logger=JsonLinesLogger(folder / "stage1" / "metrics.jsonl"),
        log_every_n_steps=1,
        max_steps=-1,
        max_epochs=1,
        **options,
    )
    trainer.fit(DecoderStage(small_model()), loader(*(small_batch(seed=seed) for seed in range(4))))
    return logged(folder, 1)


class Expected(Callback):
    """The norm of all gradients as one vector."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.heads: list[float] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        gradients = {n: p.grad for n, p in pl_module.named_parameters() if p.grad is not None}
        self.norms.append(float(torch.cat([g.flatten() for g in gradients.values()]).double().norm()))
        heads = [g.flatten() for n, g in gradients.items() if n.startswith("model.decoder.head.")]
        self.heads.append(float(torch.cat(heads).double().norm()))


def test_gradient_norm_in_all_and_of_each_part(tmp_path: Path) -> None:
    expected = Expected()
    rows = [row for row in fit(tmp_path, expected) if "train/grad_norm" in row]
    assert [row["train/grad_norm"] for row in rows] == pytest.approx(expected.norms, rel=1e-5)
    assert [row["grad_norm/head"] for row in rows] == pytest.approx(expected.heads, rel=1e-5)
    parts = {key.removeprefix("grad_norm/") for key in rows[0] if key.startswith("grad_norm/")}
    assert parts == {"output_token", "token_mlp", "mask_feature", "object_embedder", "head"}


class InfiniteGradient(Callback):
    """In the second step."""

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == 1:
            next(p for p in pl_module.parameters() if p.grad is not None).grad[:] = float("inf")


def test_norm_of_a_step_that_is_not_finite_is_zero(tmp_path: Path) -> None:
    rows = [r for r in fit(tmp_path, InfiniteGradient(), FiniteLoss()) if "train/grad_norm" in r]
    assert [row["train/grad_norm"] > 0 for row in rows] == [True, False, True, True]
    assert rows[1]["train/grad_norm"] == rows[1]["grad_norm/head"] == 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Seconds that pass only where a test lets them."""
    clock = SimpleNamespace(now=100.0)
    fake = SimpleNamespace(perf_counter=lambda: clock.now)
    monkeypatch.setattr("pisam.training.logging.throughput.time", fake)
    return clock


class SlowSteps(Callback):
    """Each step takes 3 s."""

    def __init__(self, clock: SimpleNamespace) -> None:
        self.clock = clock

    def on_train_batch_start(self, *args: Any) -> None:
        self.clock.now += 3


class SlowLoader:
    """Each of four batches takes 1 s to come."""

    def __init__(self, clock: SimpleNamespace) -> None:
        self.clock = clock

    def __iter__(self) -> Any:
        for seed in range(4):
            self.clock.now += 1
            yield small_batch(seed=seed)

    def __len__(self) -> int:
        return 4


def test_throughput_counts_images_steps_and_waiting(tmp_path: Path, clock: SimpleNamespace) -> None:
    (tmp_path / "stage1").mkdir()
    throughput = Throughput()
    trainer = quiet_trainer(
        SlowSteps(clock),
        throughput,
        profiler=throughput.profiler,
        logger=JsonLinesLogger(tmp_path / "stage1" / "metrics.jsonl"),
        log_every_n_steps=1,
        max_steps=-1,
        max_epochs=1,
    )
    trainer.fit(DecoderStage(small_model()), SlowLoader(clock))
    rows = [row for row in logged(tmp_path, 1) if "perf/step_ms" in row]
    assert len(rows) == 3, "from the second step on: the first has no step before it"
    for row in rows:
        assert row["perf/step_ms"] == pytest.approx(4000)
        assert row["perf/images_per_second"] == pytest.approx(2 / 4)
        assert row["perf/data_wait"] == pytest.approx(1 / 4)
    peaks = [row["perf/memory_gb"] for row in logged(tmp_path, 1) if "perf/memory_gb" in row]
    assert len(peaks) == 4 and peaks[0] > 0.05 and all(a <= b for a, b in pairwise(peaks))


def test_fetch_timer_hears_only_of_training_batches() -> None:
    timer = FetchTimer()
    timer.start("[_EvaluationLoop].val_next")
    timer.stop("[_EvaluationLoop].val_next")
    assert timer.waited == 0
    timer.start("[_TrainingEpochLoop].train_dataloader_next")
    while timer.waited == 0:
        time.perf_counter()
        timer.stop("[_TrainingEpochLoop].train_dataloader_next")
    assert timer.waited > 0
