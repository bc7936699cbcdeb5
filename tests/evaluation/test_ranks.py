"""Work shared out over ranks, and rows put back in order; two real ranks run in tests/distributed."""

from __future__ import annotations

import pytest

from pisam.evaluation.ranks import gather, in_order, own_share


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
