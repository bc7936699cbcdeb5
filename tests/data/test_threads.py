"""Items go through several threads, and come out in their order or not at all."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest

from pisam.data import threads
from pisam.data.threads import in_threads

PATIENCE = 60  # seconds, far more than any of this takes


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As many as the tests need, on any machine; OpenCV's own number of threads is one of its own."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(4)), raising=False)
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    yield
    cv2.setNumThreads(before)


def test_results_keep_the_order_of_their_items_though_later_ones_end_first() -> None:
    last_is_done = threading.Event()

    def square(item: int) -> int:
        if item == 3:
            last_is_done.set()
        assert last_is_done.wait(PATIENCE), "four at a time"
        return item**2

    assert list(in_threads(square, [0, 1, 2, 3], "")) == [0, 1, 4, 9]


def are_at_once(number: int, seconds: float) -> bool:
    """Whether so many items are ever under way together; waits so long for that."""
    together = threading.Barrier(number)
    try:
        list(in_threads(lambda item: together.wait(seconds), range(number), ""))
    except threading.BrokenBarrierError:
        return False
    return True


@pytest.mark.parametrize(("most", "expected"), [(16, 4), (2, 2)])
def test_no_more_at_a_time_than_cores_and_than_memory_holds(
    monkeypatch: pytest.MonkeyPatch, most: int, expected: int
) -> None:
    monkeypatch.setattr(threads, "MOST", most)
    assert are_at_once(expected, PATIENCE)
    assert not are_at_once(expected + 1, 0.3)


@pytest.fixture
def told_to_end(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once the pool takes no more items, before it waits for those under way."""
    told = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            told.set()
            super().shutdown(wait=wait)

    monkeypatch.setattr(threads, "ThreadPoolExecutor", Pool)
    return told


def test_error_comes_where_its_item_stands_and_cancels_the_rest(told_to_end: threading.Event) -> None:
    begun: list[int] = []

    def fail_at_2(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise ValueError("item 2")
        if item > 2:
            assert told_to_end.wait(PATIENCE)
        return item

    results = in_threads(fail_at_2, range(200), "")
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="item 2"):
        next(results)
    assert len(begun) <= 3 + 4
    assert pool_threads() == []


def test_who_stops_asking_stops_the_rest(told_to_end: threading.Event) -> None:
    begun: list[int] = []

    def begin(item: int) -> None:
        begun.append(item)
        assert item == 0 or told_to_end.wait(PATIENCE)

    results = in_threads(begin, range(200), "")
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 1 + 4
    assert pool_threads() == []


def pool_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_opencv_has_one_thread_meanwhile_and_its_own_number_afterwards() -> None:
    def fail(item: int) -> None:
        raise ValueError

    assert set(in_threads(lambda item: cv2.getNumThreads(), range(8), "")) == {1}
    assert cv2.getNumThreads() == 3
    with pytest.raises(ValueError):
        list(in_threads(fail, range(8), ""))
    assert cv2.getNumThreads() == 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        assert list(in_threads(abs, [-1, 2], "facts of a")) == [1, 2]
        shown = stream.getvalue()
        if stream.isatty():
            assert "facts of a: 100%" in shown and "2/2" in shown
        else:
            assert shown == ""


def test_nothing_to_do_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(in_threads(abs, [], "facts of a")) == []
    assert terminal.getvalue() == ""
