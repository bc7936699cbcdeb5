"""Threads that work beside the network: NumPy and OpenCV let others run meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Threads:
    """Two groups, so that what a model waits for never queues behind scores.

    Attributes:
        look: find the next click on an answer.
        score: score answers.
    """

    look: Executor
    score: Executor


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
