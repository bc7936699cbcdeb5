"""The error a user can mend: the command line prints it as one line and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

INTERRUPTED = 130  # the exit code after Ctrl-C: what shells make of SIGINT


class PisamError(Exception):
    """Bad input: the message gives what was expected, what came, what to do, and names the file or key."""


def nearest(wrong: Any, valid: Iterable[Any]) -> str:
    """The end of an error message that names the most similar of the `valid` values, or nothing."""
    folded = {str(choice).lower(): choice for choice in valid}
    match = difflib.get_close_matches(str(wrong).lower(), folded, n=1)
    return f"; did you mean {folded[match[0]]}?" if match else ""
