"""Exchanges between the processes of a run: how they end where another one does not answer."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed import DistError

from pisam.core.errors import INTERRUPTED, PisamError

SECONDS_TO_UNWIND = 1.0


@contextmanager
def waiting_for_peers(seconds: float = SECONDS_TO_UNWIND) -> Iterator[None]:
    """A block in which ranks exchange: Ctrl-C ends it at any time, a failed exchange is a `PisamError`.

    Python hears no signal while a library waits, here for as long as another rank computes.

    Args:
        seconds: from Ctrl-C to the end of this process, where the block has not ended by then.

    Raises:
        PisamError: another process of the run has failed, or does not answer.
    """
    with _ended_by_interrupt(seconds):
        try:
            yield
        except RuntimeError as error:
            if explained := explanation(error):
                raise explained from error
            raise


def explanation(error: Exception) -> PisamError | None:
    """The error to raise for one that means that another rank does not answer; None for any other."""
    text = str(error).partition("\n")[0]
    if not isinstance(error, DistError) and not (type(error) is RuntimeError and "/gloo/" in text):
        return None
    return PisamError(
        "another rank has failed, ended or did not come, see what it says; here an exchange ended with: "
        + re.sub(r"^\[\S+\] | This is typically .*", "", text)  # gloo's own place and advice
    )


@contextmanager
def _ended_by_interrupt(seconds: float) -> Iterator[None]:
    handler, thread = signal.getsignal(signal.SIGINT), threading.current_thread()
    if not callable(handler) or thread is not threading.main_thread():
        yield
        return
    over = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        while number := os.read(reader, 1)[0]:
            if number == signal.SIGINT and not over.wait(seconds):
                os._exit(INTERRUPTED)

    watcher = threading.Thread(target=watch, daemon=True)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # written to in the very moment
    watcher.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.write(writer, b"\0")  # closing it is not enough: loader processes that were forked have it, too
        watcher.join()
        os.close(writer)
        os.close(reader)
