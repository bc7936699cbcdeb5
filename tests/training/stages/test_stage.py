"""A step's one exchange and its waits, with four ranks that all are this process."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.guards import FiniteLoss
from pisam.training.logging.throughput import Throughput
from pisam.training.resume.checkpoint_io import VerifiedCheckpointIO
from pisam.training.resume.last_checkpoint import LastCheckpoint
from pisam.training.resume.preemption import Preemption, TimeLimit
from pisam.training.stages.decoder_stage import DecoderStage
from pisam.training.stages.interactor_stage import InteractorStage
from pisam.training.stages.stage import stack

MOST_WAITS = 4


class Waits(TorchDispatchMode):
    """Counts where this package asks for a number on the host, as a GPU would have to be waited for."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and ours():
            self.counts["item"] += 1
        return func(*args, **(kwargs or {}))


def ours() -> bool:
    """Whether a line of this package asked, and no library in between."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        "/torch/" in frame.f_code.co_filename or frame.f_code.co_filename == __file__
    ):
        frame = frame.f_back
    return "/pisam/" in frame.f_code.co_filename


class PerStep(Callback):
    """What each step has counted."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts
        self.steps: list[Counter[str]] = []

    def on_before_backward(self, *args: Any) -> None:
        self.counts.clear()

    def on_train_batch_end(self, *args: Any) -> None:
        self.steps.append(Counter(self.counts))


@pytest.mark.parametrize("number", [1, 2])
def test_ranks_speak_once_a_step_and_the_host_waits_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    counts: Counter[str] = Counter()
    tolist = Tensor.tolist

    def counted_tolist(self: Tensor) -> Any:
        counts["tolist"] += ours()
        return tolist(self)

    def all_gather(rows: list[Tensor], row: Tensor) -> None:
        counts["all_gather"] += 1
        for each in rows:
            each.copy_(row)

    monkeypatch.setattr(Tensor, "tolist", counted_tolist)
    monkeypatch.setattr(torch.distributed, "all_gather", all_gather)
    monkeypatch.setattr(torch.distributed, "all_reduce", None)
    monkeypatch.setattr(torch.distributed, "barrier", None)
    seen = PerStep(counts)
    callbacks = [LastCheckpoint(tmp_path / "last.ckpt", seconds=3600), Preemption(), TimeLimit("00:01:00:00")]
    callbacks += [FiniteLoss(), Throughput(), *([ClickSimulation(min_area=2)] if number == 2 else []), seen]
    ranks = SingleDeviceStrategy(torch.device("cpu"))
    ranks.world_size = 4
    trainer = quiet_trainer(*callbacks, max_steps=3, strategy=ranks, plugins=VerifiedCheckpointIO())
    stage = (DecoderStage, InteractorStage)[number - 1](small_model())
    with Waits(counts):
        trainer.fit(stage, loader(*(small_batch(seed=seed) for seed in range(3))))
    assert [step["all_gather"] for step in seen.steps] == [1, 1, 1]
    assert [step["tolist"] for step in seen.steps] == [1, 1, 1], "all numbers of all ranks at once"
    assert all(0 < step["item"] + step["tolist"] <= MOST_WAITS for step in seen.steps)


def test_numbers_of_the_host_and_of_the_device_keep_their_order() -> None:
    stacked = stack([1.0, torch.tensor(2.0), 3.0, torch.tensor(True)], torch.device("cpu"))
    assert stacked.dtype == torch.float32 and stacked.tolist() == [1, 2, 3, 1]
