"""A function over many items in several processes, without holding all items at once."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

import cv2
import torch

Result = TypeVar("Result")


def bounded_map(
    function: Callable[..., Result], arguments: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[Result]:
    """The results in the order of `arguments`; at most three items per worker wait or are worked on.

    Args:
        function: importable by name, as its arguments and results must be picklable.
        arguments: of each call; taken from here only as fast as they are worked off.
        workers: processes, each with one thread; 0 = in this process.
    """
    if workers == 0:
        yield from (function(*each) for each in arguments)
        return
    # Processes that are forked beside a running network or loader may lock up.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawned, initializer=_single_threaded) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for each in arguments:
                waiting.append(pool.submit(function, *each))
                if len(waiting) >= 3 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _single_threaded() -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
