"""Checks before the first step: each is announced, and fails in one line."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from pisam.core.errors import PisamError
from pisam.core.lock import Lock, holding, read_lock

log = logging.getLogger(__name__)


@contextmanager
def alone_in(folder: Path) -> Iterator[Lock | None]:
    """Hold the lock of a folder on rank 0, as `holding`; the other ranks belong to it, and get None."""
    if own_rank():
        yield None
    else:
        with holding(folder) as lock:
            yield lock


@contextmanager
def checking(what: str) -> Iterator[list[str]]:
    """Print `what ...`, and at the end how long it took and what the block put into the list."""
    say = rank_zero_only(log.info)
    say("%s ...", what)
    begun = time.monotonic()
    found: list[str] = []
    yield found
    say("%s: %s", what, ", ".join([*found, f"{time.monotonic() - begun:.1f} s"]))


def own_rank() -> int:
    """The rank of this process, before it speaks to the others, from what started it."""
    return int(getattr(rank_zero_only, "rank", 0))


def job() -> str:
    """Name of the job whose processes SLURM or torchrun starts at the same time; "" for other starts."""
    for names in (
        ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT"),
        ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    ):
        if os.environ.get(names[0]):
            return ".".join(os.environ.get(name, "") for name in names)
    return ""


def wait_for_rank_0(folder: Path, *, minutes: float) -> None:
    """Wait on the other ranks until rank 0 has checked the data, as long as it gives signs of life.

    Rank 0 alone audits files, which may take longer than `trainer.timeout`, after which the others would give
    up in the first exchange. It announces in the run's lock, which all nodes see, that it is `ready`.

    Args:
        folder: what rank 0 holds the lock of.
        minutes: without any sign of rank 0, until this is given up.

    Raises:
        PisamError: no sign for so long.
    """
    own = job()
    if own_rank() == 0 or not own:
        return
    last: tuple[Any, float] | None = None
    end = 0.0
    while True:
        announced, signed = read_lock(folder)
        if announced.get("job") == own and announced.get("ready"):
            return
        if (sign := (announced, signed)) != last:
            last, end = sign, time.monotonic() + 60 * minutes
        if time.monotonic() > end:
            raise PisamError(
                f"{folder}: no sign of life of rank 0 in {minutes:g} minutes (trainer.timeout); see what it "
                "says, and whether all nodes share this folder"
            )
        time.sleep(0.5)
