"""Processes of a run: they end with what started them, exchanges end, and freed memory is used again."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pisam.core.errors import INTERRUPTED, PisamError

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
    from torch.distributed import DistError  # slow to load, and children need none

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


# Numbers of glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
LARGEST = 32 * 2**20  # bytes of one array; glibc allows no more


def keep_memory(kept: int) -> None:
    """Use freed memory again.

    glibc would hand each large array back to the system, and the next one would pay for its pages anew: a
    tenth of the time of a sample, a fifth of that of the HR-Conv Head in a training step on a CPU. Another C
    library has no such function.

    Args:
        kept: bytes that this process may keep for what comes next.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, LARGEST)
        library.mallopt(_M_TRIM_THRESHOLD, kept)
