"""What is checked before the first step is said before it is begun, so that nothing hangs without a word."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities.rank_zero import rank_zero_only

log = logging.getLogger(__name__)


@contextmanager
def checking(what: str) -> Iterator[list[str]]:
    """Say `what ...`, and at the end how long it took and what the block put into the list."""
    say = rank_zero_only(log.info)
    say("%s ...", what)
    begun = time.monotonic()
    found: list[str] = []
    yield found
    say("%s: %s", what, ", ".join([*found, f"{time.monotonic() - begun:.1f} s"]))
