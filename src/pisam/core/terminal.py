"""What reaches a terminal: text of others without control characters, progress, no chatter of libraries."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

LONGEST_LINE = 2000  # characters of a message


def escaped(text: str, but: str = "") -> str:
    """The text with \\n, \\x1b and the like in place of what is not printable, unless it is in `but`."""
    return "".join(c if c.isprintable() or c in but else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """A message in one printable line; the middle of a very long one is left out."""
    line = escaped(" ".join(text.split()))
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 4 :]}"
    return line


class Printable:
    """A text stream that writes to another one what can be printed, in lines; else it is that stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, escaped."""
        self._stream.write(escaped(text, but="\n"))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """An attribute of the other stream."""
        return getattr(self._stream, name)


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
    from tqdm import tqdm

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


VERBOSE = "PISAM_VERBOSE"  # set by -v; further ranks and trials inherit it
ADVISERS = r"(lightning|pytorch_lightning|lightning_fabric|torchmetrics|timm|segment_anything|torch\.utils)"
LIGHTNINGS_TIPS = tuple(
    f"lightning.{part}"
    for part in ("fabric.utilities.rank_zero", "fabric.utilities.seed", "pytorch.utilities.rank_zero")
)


def quiet() -> None:
    """Silence advice of libraries that does not concern the user of this package."""
    if os.environ.get(VERBOSE):
        return
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(?!pisam\b)")
    warnings.filterwarnings("ignore", category=UserWarning, module=ADVISERS)
    for name in LIGHTNINGS_TIPS:
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("WANDB_QUIET", "true")
