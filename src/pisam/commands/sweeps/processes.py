"""Commands that run as children and get the signals that this process gets."""

from __future__ import annotations

import ctypes
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # those that tell a training to save and leave
PR_SET_PDEATHSIG = 1  # of Linux's <sys/prctl.h>
TOLD_TO_GO = 143  # the exit code after one of them


def run_together(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str] | None = None
) -> tuple[list[int], bool]:
    """Run commands at the same time, to the end of the last one.

    Returns:
        their exit codes, and whether this process was told to go meanwhile, which it passed on to them.

    Raises:
        KeyboardInterrupt: after Ctrl-C, which reaches the children too, when they have ended.
    """
    children: list[subprocess.Popen] = []
    told: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        told.append(number)
        for child in children:
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        for command in commands:
            if not told:
                children.append(subprocess.Popen(command, env=environment, preexec_fn=_end_with_parent))
        return [child.wait() for child in children], bool(told)
    except KeyboardInterrupt:
        for child in children:
            with suppress(KeyboardInterrupt):  # pressed again, it reaches them once more
                child.wait()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with_parent() -> None:
    """Have Linux send a child SIGTERM when its parent is killed; it saves then, as after any SIGTERM."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
