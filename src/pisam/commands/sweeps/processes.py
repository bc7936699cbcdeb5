"""Commands that run as children and get the signals that this process gets."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType

from pisam.core.children import end_with_parent

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # those that tell a training to save and leave
TOLD_TO_GO = 143  # the exit code after one of them
# After Ctrl-C: for children that a terminal has told too, and for those that hear of it from here.
SECONDS_BY_THEMSELVES, SECONDS_WHEN_TOLD = 3.0, 30.0


def run_together(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str] | None = None
) -> tuple[list[int], bool]:
    """Run commands at the same time, to the end of the last one.

    Returns:
        their exit codes, and whether this process was told to go meanwhile, which it passed on to them.

    Raises:
        KeyboardInterrupt: after Ctrl-C, of which the children are told too: when they have ended, or are
            long in doing so.
    """
    children: list[subprocess.Popen] = []
    unheard: list[deque[int]] = [deque() for _ in commands]  # signals for each child, started or not
    told = False

    def pass_on() -> None:
        for child, numbers in zip(children, unheard, strict=False):
            with suppress(IndexError):  # a signal that comes meanwhile empties it
                while True:
                    child.send_signal(numbers.popleft())

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal told
        told = True
        for numbers in unheard:
            numbers.append(number)
        pass_on()

    before = {number: signal.signal(number, hear) for number in SIGNALS}
    try:
        for command in commands:
            if not told:
                start = partial(_as_child, os.getpid())
                children.append(subprocess.Popen(command, env=environment, preexec_fn=start))
                pass_on()  # what came while it was started
        codes = [child.wait() for child in children]
    except KeyboardInterrupt:
        _interrupt(children)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return codes, told


def _interrupt(children: Sequence[subprocess.Popen]) -> None:
    """End children after Ctrl-C; whoever lives on is told to save and leave."""
    for seconds, number in (
        (SECONDS_BY_THEMSELVES, signal.SIGINT),
        (SECONDS_WHEN_TOLD, signal.SIGTERM),
    ):
        end = time.monotonic() + seconds
        for child in children:
            with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):  # pressed again: tell them now
                child.wait(max(0.0, end - time.monotonic()))
            child.send_signal(number)


def _as_child(parent: int) -> None:
    """Between fork and start: no handler of the parent's here, and SIGTERM, to save, when the parent ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    end_with_parent(parent, signal.SIGTERM)
