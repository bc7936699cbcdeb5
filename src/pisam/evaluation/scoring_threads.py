"""Threads that score beside the network: NumPy and OpenCV let others work meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Now(Executor):
    """Does at once what it is given."""

    def submit(self, function: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        future: Future[Result] = Future()
        future.set_result(function(*args, **kwargs))
        return future


def scoring_threads(number: int) -> Executor:
    """An executor of so many threads; of none, one that works where it is called. Use it in a `with`."""
    return ThreadPoolExecutor(number, thread_name_prefix="score") if number else _Now()
