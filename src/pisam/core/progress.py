"""Progress of a long command: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from typing import TextIO

from tqdm import tqdm

SECONDS = 30  # between two lines of a log; what is done sooner leaves none
LINE = "{desc}: {percentage:.0f} %, {elapsed} passed, {remaining} left"


class _Lines:
    """A text stream for tqdm that turns each redrawn bar into a line."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self.stream.write(f"{line}\n")

    def flush(self) -> None:
        self.stream.flush()


def progress(total: int, what: str, *, shown: bool = True) -> tqdm:
    """A bar that counts up to `total` with `update`, on stderr.

    Args:
        total: steps; whoever learns better may set the bar's `total`.
        what: stands before it.
        shown: False where another rank shows it.
    """
    if sys.stderr.isatty():
        return tqdm(total=total, desc=what, disable=not shown, leave=False, dynamic_ncols=True)
    return tqdm(
        total=total,
        desc=what,
        disable=not shown,
        file=_Lines(sys.stderr),
        position=0,  # below a bar that was never closed, tqdm would move the cursor
        bar_format=LINE,
        delay=SECONDS,
        mininterval=SECONDS,
        miniters=1,
    )
