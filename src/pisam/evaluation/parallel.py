"""Work side by side: in threads, in processes, shared out over ranks; results in the order of the items."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import torch
import torch.distributed as dist

from pisam.core.errors import PisamError
from pisam.core.processes import serve, waiting_for_peers
from pisam.evaluation.rows import Row

Result = TypeVar("Result")


@dataclass(frozen=True)
class Threads:
    """Two groups, so that what a model waits for never queues behind scores."""

    look: Executor  # find the next click on an answer
    score: Executor  # score answers


class _Now(Executor):
    """Does at once what it is given."""

    def submit(self, function: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        future: Future[Result] = Future()
        future.set_result(function(*args, **kwargs))
        return future


@contextmanager
def threads_beside(number: int) -> Iterator[Threads]:
    """So many threads in each group; with 0 all is done where it is asked for."""
    if number == 0:
        yield Threads(_Now(), _Now())
        return
    with ThreadPoolExecutor(number) as look, ThreadPoolExecutor(number) as score:
        yield Threads(look, score)


def bounded_map(
    function: Callable[..., Result], arguments: Iterable[tuple[Any, ...]], workers: int
) -> Iterator[Result]:
    """The results in the order of `arguments`; at most three items per worker wait or are worked on.

    Args:
        function: importable by name, as its arguments and results must be picklable.
        arguments: of each call; taken from here only as fast as they are worked off.
        workers: processes, each with one thread; 0 = in this process.

    Raises:
        PisamError: a process was killed.
    """
    if workers == 0:
        yield from (function(*each) for each in arguments)
        return
    # Processes that are forked beside a running network or loader may lock up.
    spawned = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawned, _begin, (os.getpid(),))
    waiting: deque[Future[Result]] = deque()
    try:
        for each in arguments:
            waiting.append(pool.submit(function, *each))
            if len(waiting) >= 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise PisamError(
            "a process that works beside this one was killed, in all likelihood because memory ran out; "
            "run the same command with fewer workers"
        ) from error
    finally:
        with suppress(RuntimeError):  # Ctrl-C while it was starting: it has no thread to wait for
            pool.shutdown(wait=True, cancel_futures=True)


def _begin(parent: int) -> None:
    serve(parent)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


Item = TypeVar("Item")


def own_share(items: Sequence[Item], rank: int, world_size: int) -> Sequence[Item]:
    """The items of one rank of several; each item is some rank's, none is two ranks'."""
    return items[rank::world_size]


def gather(items: list[Item]) -> list[Item]:
    """The items of all ranks, on every rank; of one process, its own. Items are plain picklable values."""
    if not (dist.is_available() and dist.is_initialized()):
        return items
    everyone: list[Any] = [None] * dist.get_world_size()
    with waiting_for_peers():
        dist.all_gather_object(everyone, items)
    return [item for own in everyone for item in own]


def on_all_ranks(own_part: Callable[[], Item]) -> list[Item]:
    """Results of `own_part`, run without gradients on each rank, in the order of the ranks.

    Raises:
        PisamError: that of any rank, on all of them: the others would wait for it.
    """
    failures: list[str] = []
    parts: list[Item] = []
    try:
        with torch.inference_mode():
            parts = [own_part()]
    except PisamError as error:
        failures = [str(error)]
    everyone, failures = gather(parts), gather(failures)
    if failures:
        raise PisamError(failures[0])
    return everyone


def in_order(rows: Sequence[Row], names: Sequence[tuple[str, str]]) -> list[Row]:
    """Rows sorted by the position of their (`set`, `image`) in `names`; rows of one image stay in order."""
    position = {name: index for index, name in enumerate(names)}
    return sorted(rows, key=lambda row: position[str(row["set"]), str(row["image"])])
