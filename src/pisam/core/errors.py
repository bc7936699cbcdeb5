"""The error a user can mend: the command line prints it as one line and exits with code 2."""

from __future__ import annotations


class PisamError(Exception):
    """Bad input: the message says what was expected, what came, what to do, and names the file or key."""
