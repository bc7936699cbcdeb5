"""Results in order, items taken only as fast as they are worked off, errors passed on."""

from __future__ import annotations

import operator
from collections.abc import Iterator

import pytest

from pisam.evaluation.bounded_map import bounded_map


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
