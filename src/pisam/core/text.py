"""Text that others wrote, such as names of files, on its way to a terminal: nothing in it moves a cursor."""

from __future__ import annotations

from typing import Any, TextIO

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
    """A text stream that writes to another one what can be printed, in lines.

    Args:
        stream: where it goes; anything but writing is its own affair.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, escaped."""
        self._stream.write(escaped(text, but="\n"))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """An attribute of the other stream."""
        return getattr(self._stream, name)
