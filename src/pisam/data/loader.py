"""A loader whose waits end: threads, signals and memory of its processes, whose faults are one line."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import cv2
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from pisam.core.errors import PisamError
from pisam.core.types import Batch
from pisam.data.dataset import Sample, collate

# Numbers of glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
LARGEST = 32 * 2**20  # bytes of one array; glibc allows no more
KEPT = 192 * 2**20  # bytes that a worker may keep for its next sample


def begin_worker(worker: int) -> None:
    """One thread, signals left to the main process, and memory that is used again.

    OpenCV would start a thread per core; a signal to the job would end workers before their step.
    """
    cv2.setNumThreads(0)
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    keep_memory()


def keep_memory() -> None:
    """Use freed memory again.

    glibc would hand each large array back to the system, and the next sample would pay for its pages anew: a
    tenth of the time of a sample. Another C library has no such function.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, LARGEST)
        library.mallopt(_M_TRIM_THRESHOLD, KEPT)


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
