"""Work side by side: in processes, and shared out over ranks."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator

import pytest

from pisam.core.errors import PisamError
from pisam.evaluation.parallel import bounded_map, gather, in_order, own_share


def test_in_this_process_it_is_a_lazy_map() -> None:
    taken = []

    def arguments() -> Iterator[tuple[int, int]]:
        for number in range(5):
            taken.append(number)
            yield number, 2

    results = bounded_map(operator.mul, arguments(), 0)
    assert (next(results), taken) == (0, [0])
    assert list(results) == [2, 4, 6, 8]


@pytest.mark.slow
def test_processes_keep_the_order_and_hold_few_items_at_once() -> None:
    taken = []

    def arguments() -> Iterator[tuple[int, int]]:
        for number in range(40):
            taken.append(number)
            yield number, 2

    results = bounded_map(operator.mul, arguments(), 2)
    assert next(results) == 0
    assert len(taken) <= 6
    assert list(results) == [2 * number for number in range(1, 40)]
    with pytest.raises(ZeroDivisionError):
        list(bounded_map(operator.truediv, [(1, 1), (1, 0), (1, 1)], 1))


@pytest.mark.slow
def test_a_process_that_is_killed_is_one_line() -> None:
    with pytest.raises(PisamError, match=r"was killed, .* with fewer workers"):
        list(bounded_map(os._exit, [(1,)] * 9, 1))


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_each_item_is_one_ranks(world_size: int) -> None:
    shares = [own_share(range(5), rank, world_size) for rank in range(world_size)]
    assert sorted(item for share in shares for item in share) == list(range(5))


def test_rows_come_back_in_the_order_of_the_images() -> None:
    names = [("a", "1"), ("a", "2"), ("b", "1")]
    rows = [
        {"set": s, "image": i, "model": m}
        for s, i in (names[0], names[2], names[1])
        for m in ("SAM", "Pi-SAM")
    ]
    assert in_order(rows, names) == [
        {"set": s, "image": i, "model": m} for s, i in names for m in ("SAM", "Pi-SAM")
    ]


def test_one_process_keeps_its_own() -> None:
    assert gather([3, 1]) == [3, 1]
