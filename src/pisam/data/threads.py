"""Many files at a time, with a progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import cv2
from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

# A pair of 24 megapixels takes some 200 MB while it is read.
MOST = 16


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], progress: str) -> Iterator[Result]:
    """The result of each item, in their order; `progress` stands beside the bar on a terminal.

    Threads are as fast as processes here, for decoding runs outside of Python's lock. An error, or Ctrl-C,
    ends it with the items that are under way.
    """
    if not items:
        return
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads, pool = cv2.getNumThreads(), ThreadPoolExecutor(min(MOST, available))
    cv2.setNumThreads(1)
    try:
        yield from tqdm(pool.map(function, items), progress, len(items), unit="pair", disable=None)
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)
