"""Work shared out over ranks, and what it gives back together in the order of the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from pisam.core.errors import PisamError
from pisam.evaluation.rows import Row

Item = TypeVar("Item")


def own_share(items: Sequence[Item], rank: int, world_size: int) -> Sequence[Item]:
    """The items of one rank of several; each item is some rank's, none is two ranks'."""
    return items[rank::world_size]


def gather(items: list[Item]) -> list[Item]:
    """The items of all ranks, on every rank; of one process, its own. Items are plain picklable values."""
    if not (dist.is_available() and dist.is_initialized()):
        return items
    everyone: list[Any] = [None] * dist.get_world_size()
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
