"""The speed of training, its waits and its memory."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler

from pisam.training.stages.stage import Exchanging, Number, log_numbers

FETCHES = "_next"  # how Lightning's names of waits for a batch end
FETCH = "train_dataloader_next"  # how Lightning calls the wait for the next batch
GIB = 2**30
WINDOW = 20  # batches that the means run over


class FetchTimer(PassThroughProfiler):
    """Adds up the seconds that training waited for batches, as Lightning reports them to profilers.

    Attributes:
        waited: seconds since this was made.
        waiting: for which batch the trainer waits, in Lightning's words; "" where for none.
        before_wait: called when a wait begins.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0
        self.waiting = ""
        self.before_wait: Callable[[], object] = lambda: None
        self._begun: float | None = None

    def start(self, action_name: str) -> None:
        if action_name.endswith(FETCHES):
            self.waiting = action_name
            self.before_wait()
        if action_name.endswith(FETCH):
            self._begun = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name.endswith(FETCHES):
            self.waiting = ""
        if action_name.endswith(FETCH) and self._begun is not None:
            self.waited += time.perf_counter() - self._begun
            self._begun = None


class Throughput(Callback, Exchanging):
    """Logs how the last steps went, and the memory.

    `perf/images_per_second` of all ranks, `perf/step_ms` of an optimiser step, `perf/data_wait`, the share of
    the time in which rank 0 waited for data (0 to 1), and `perf/memory_gb`, the highest of any rank so far in
    GiB: allocated on its GPU, or of its whole process where it has none.

    Validation and the start of an epoch, when workers begin, are left out.

    Attributes:
        profiler: to be given to the trainer.
    """

    def __init__(self) -> None:
        self.profiler = FetchTimer()
        self._batches: deque[tuple[float, float, int]] = deque(maxlen=WINDOW)  # seconds, waited, images
        self._mark: tuple[float, float] | None = None
        self._device = torch.device("cpu")
        self._peak = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._device = pl_module.device

    def offer(self) -> dict[str, Number]:
        return {"memory": peak_memory(self._device) / GIB}

    def hear(self, numbers: Mapping[str, Sequence[float]]) -> None:
        self._peak = max(numbers["memory"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        now = (time.perf_counter(), self.profiler.waited)
        if self._mark is not None:
            self._batches.append((now[0] - self._mark[0], now[1] - self._mark[1], len(batch)))
        self._mark = now
        if self._batches:
            seconds, waited, images = (sum(column) for column in zip(*self._batches, strict=True))
            batches_a_step = trainer.accumulate_grad_batches
            log_numbers(
                pl_module,
                {
                    "perf/images_per_second": images * trainer.world_size / seconds,
                    "perf/step_ms": 1000 * batches_a_step * seconds / len(self._batches),
                    "perf/data_wait": waited / seconds,
                },
            )
        if self._peak:
            log_numbers(pl_module, {"perf/memory_gb": self._peak})


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that was allocated on a GPU so far, or that this process ever took."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
