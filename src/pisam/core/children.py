"""Processes that end when the one that started them ends, however it does."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PR_SET_PDEATHSIG = 1  # of Linux's <sys/prctl.h>
STARTER = "PISAM_STARTER"


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have Linux send this process a signal when its parent ends; it ends here if that is the case by now.

    Args:
        parent: id of the process that started this one.
        number: of the signal; its handler, if any, is that of this process.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(128 + number)


def serve(parent: int) -> None:
    """Live as long as the parent, which alone hears Ctrl-C: a terminal sends it to both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)


@contextmanager
def announced_to_children() -> Iterator[None]:
    """Commands of this package that are started meanwhile serve this process, see `serve_starter`."""
    os.environ[STARTER] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(STARTER, None)


def serve_starter() -> None:
    """Serve the process that has announced itself, if any; what this one starts does not belong to that."""
    if starter := os.environ.pop(STARTER, None):
        serve(int(starter))
