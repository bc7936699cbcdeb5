"""From samples to batches: an order that is a function of (seed, epoch), and a loader whose waits end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, get_worker_info

from pisam.core.errors import PisamError
from pisam.core.processes import keep_memory
from pisam.core.seeding import derive_seed
from pisam.core.types import Batch
from pisam.data.dataset import Key, Sample, collate


class TrainingSampler(Sampler[Key]):
    """The training order of one rank, as (index, epoch) keys.

    The keys carry the epoch because persistent workers hold a copy of the data set that never hears of a new
    one. Rank r of R takes every R-th sample from the r-th on, so batch k of all ranks together holds the same
    samples however many ranks share them. What does not fill a last batch on every rank is left out; a data
    set smaller than one batch is repeated until it fills it.

    Args:
        weights: one positive number per sample. Where all are equal an epoch holds each sample once;
            otherwise a sample occurs, up to rounding, in proportion to its weight.
        batch_size: samples per batch of one rank.
        rank: this process, from 0.
        world_size: number of processes.
        seed: of the order.

    Attributes:
        epoch: the epoch that the next iteration yields.
        start: batches of that epoch to skip, for a run resumed in its middle.
    """

    def __init__(
        self, weights: Sequence[float], *, batch_size: int, rank: int = 0, world_size: int = 1, seed: int = 0
    ) -> None:
        if len(weights) == 0:
            raise ValueError("weights: expected at least one sample, got none")
        self.weights = np.asarray(weights, dtype=np.float64)
        self.batch_size, self.rank, self.world_size, self.seed = batch_size, rank, world_size, seed
        self.epoch = self.start = 0

    @property
    def batches(self) -> int:
        """Batches of a whole epoch on each rank."""
        return max(1, len(self.weights) // (self.batch_size * self.world_size))

    def __len__(self) -> int:
        """Samples of a whole epoch on this rank; also where `start` skips some, for progress counts them."""
        return self.batches * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch; a new epoch starts at its first batch."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def resume(self, epoch: int, start: int) -> None:
        """Continue in `epoch` after its first `start` batches; after all of them, in the next epoch."""
        self.epoch, self.start = (epoch, start) if start < self.batches else (epoch + 1, 0)

    def __iter__(self) -> Iterator[Key]:
        epoch = self.epoch
        own = self._order(epoch)[self.rank :: self.world_size][self.start * self.batch_size :]
        return iter([(int(index), epoch) for index in own])

    def _order(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng(derive_seed(self.seed, epoch, "order"))
        order = rng.permutation(self._occurrences(rng))
        return np.resize(order, self.batches * self.batch_size * self.world_size)

    def _occurrences(self, rng: np.random.Generator) -> np.ndarray:
        """Sample indices, each as often as its weight asks, never off by one (systematic resampling)."""
        count = len(self.weights)
        if (self.weights == self.weights[0]).all():
            return np.arange(count)
        edges = np.cumsum(self.weights) / self.weights.sum() * count
        ticks = np.arange(count) + rng.random()
        return np.minimum(np.searchsorted(edges, ticks, side="right"), count - 1)


class ValidationSampler(Sampler[int]):
    """Every sample exactly once over all ranks, in order: ranks may get one more or less, none is padded."""

    def __init__(self, count: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, count, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


KEPT = 192 * 2**20  # bytes that a worker may keep for its next sample


def begin_worker(worker: int) -> None:
    """One thread, signals left to the main process, and memory that is used again.

    OpenCV would start a thread per core; a signal to the job would end workers before their step.
    """
    cv2.setNumThreads(0)
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    keep_memory(KEPT)


SHARED_MEMORY = "/dev/shm"
OWN_HANDLES, HANDLES_A_WORKER = 128, 32  # each tensor of a batch on its way is an open file


class BatchLoader(DataLoader[Batch]):
    """A `DataLoader` of batches that fails in one line where a process dies, starves or has no memory.

    Args:
        data: the samples.
        timeout: seconds to wait for one batch of the processes; 0 for ever.
        options: further arguments of `DataLoader`.

    Raises:
        PisamError: this process may not open as many files as its workers send.
    """

    def __init__(self, data: Any, *, timeout: float, num_workers: int, **options: Any) -> None:
        if num_workers:
            allow_handles(OWN_HANDLES + HANDLES_A_WORKER * num_workers)
        super().__init__(
            data,
            collate_fn=collate_shared,
            num_workers=num_workers,
            timeout=timeout if num_workers else 0,
            **options,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        return _OneLine(super().__iter__(), self.timeout)


def allow_handles(needed: int) -> None:
    """Raise the limit of open files of this process to `needed`, where it is lower.

    Raises:
        PisamError: the limit that only an administrator may raise is lower.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise PisamError(
                f"data.workers: the loader's processes need {needed} open files, and this process may have "
                f"{hard}; raise `ulimit -n` or lower data.workers (0 needs none)"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class _OneLine:
    """Another iterator, with torch's errors about processes as errors of this package."""

    def __init__(self, batches: Iterator[Batch], timeout: float) -> None:
        self.batches = batches
        self.timeout = timeout

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        try:
            return next(self.batches)
        except RuntimeError as error:
            text = " ".join(str(error).split())
            if "DataLoader timed out" in text:
                raise PisamError(
                    f"data.workers: no batch came in {self.timeout / 60:g} minutes (trainer.timeout); "
                    "can the disk with the images be reached?"
                ) from error
            if "DataLoader worker" in text:
                raise PisamError(
                    f"data.workers: a process of the loader died ({text}); if it had too little memory, "
                    "lower data.workers or data.batch_size"
                ) from error
            raise


def collate_shared(samples: Sequence[Sample]) -> Batch:
    """A batch whose tensors lie in shared memory already where a process of the loader makes it.

    Left to the queue between the processes, that would fail in a thread of which nobody hears.

    Raises:
        PisamError: there is no room for it.
    """
    batch = collate(samples)
    if get_worker_info() is None:
        return batch
    try:
        for tensor in _tensors(batch):
            tensor.share_memory_()
    except RuntimeError as error:
        raise PisamError(
            f"data.workers: no room for a batch in shared memory ({_room()}): give the container more, "
            "for example docker run --shm-size=8g, or set data.workers=0"
        ) from error
    return batch


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from _tensors(getattr(value, name))


def _room() -> str:
    try:
        total, _, free = shutil.disk_usage(SHARED_MEMORY)
    except OSError:
        return "no such file system"
    return f"{SHARED_MEMORY} of {total / 2**20:.1f} MiB has {free / 2**20:.1f} MiB left"
