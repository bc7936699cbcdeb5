"""Threads, signals and memory of a loader's worker process."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

import cv2

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
