"""Rows that several ranks measured, back together in the order of the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch.distributed as dist

from pisam.evaluation.rows import Row

Item = TypeVar("Item")


def own_share(items: Sequence[Item], rank: int, world_size: int) -> Sequence[Item]:
    """What one rank of several works on; each item is some rank's, none is two ranks'."""
    return items[rank::world_size]


def gather(items: list[Item]) -> list[Item]:
    """The items of all ranks, on every rank; of one process, its own. Items are plain picklable values."""
    if not (dist.is_available() and dist.is_initialized()):
        return items
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, items)
    return [item for own in everyone for item in own]


def in_order(rows: Sequence[Row], names: Sequence[tuple[str, str]]) -> list[Row]:
    """Rows sorted by the position of their (`set`, `image`) in `names`; rows of one image stay in order."""
    position = {name: index for index, name in enumerate(names)}
    return sorted(rows, key=lambda row: position[str(row["set"]), str(row["image"])])
