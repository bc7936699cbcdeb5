"""One writer at a time in a folder, on one machine or on several that share the folder."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pisam.core.errors import PisamError

log = logging.getLogger(__name__)

SECONDS_BETWEEN_SIGNS = 10.0  # of life of a holder
SECONDS_WITHOUT_SIGN = 60.0  # after which a holder on another machine is taken for dead
HELD: set[Path] = set()  # by this process, which the operating system would not refuse a second time


class Lock:
    """A file beside the folder that names who writes there; removed at the end. The folder need not exist.

    The operating system's lock on it ends with its process, also after SIGKILL. Between machines that do not
    share such locks the file's time of change counts, which the holder renews.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = lock_file(folder)
        self._descriptor = -1
        self._facts: dict[str, Any] = {}
        self._made: list[Path] = []
        self._end = threading.Event()

    def acquire(self) -> None:
        """Begin to hold the lock; where none can be kept, what is written next gives the reason.

        Raises:
            PisamError: another process holds it, and is named with its host; or what is in the lock's place
                cannot be opened.
        """
        if self.path in HELD:
            raise _in_use(self.folder, {"pid": os.getpid(), "host": socket.gethostname()})
        try:
            self._open()
        except OSError as error:
            if not os.path.lexists(self.path):
                return
            self._open_anew(error)
        HELD.add(self.path)
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        self.announce(pid=os.getpid(), host=socket.gethostname(), machine=machine(), since=started)
        threading.Thread(target=self._give_signs, daemon=True).start()

    def announce(self, **facts: Any) -> None:
        """Write more about the holder into the file."""
        if self._descriptor < 0:
            return
        self._facts |= facts
        text = json.dumps(self._facts).encode()
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text, 0)
            os.fsync(self._descriptor)

    def release(self) -> None:
        """End it, and remove what was made for it and is empty."""
        self._end.set()
        HELD.discard(self.path)
        if self._descriptor >= 0:
            with suppress(OSError):
                if _same_file(self._descriptor, self.path):
                    self.path.unlink()
            os.close(self._descriptor)
            self._descriptor = -1
        for folder in reversed(self._made):
            with suppress(OSError):
                folder.rmdir()

    def _open(self) -> None:
        self._make_folders()
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                held_by_kernel = _lock(descriptor, self.folder)
                if not _same_file(descriptor, self.path):  # removed by its holder meanwhile
                    os.close(descriptor)
                    continue
                _refuse_living(descriptor, self.folder, held_by_kernel)
            except BaseException:
                with suppress(OSError):
                    os.close(descriptor)
                raise
            self._descriptor = descriptor
            return

    def _open_anew(self, reason: OSError) -> None:
        """Open in place of a file that this user may not write: of another user, whose process has ended."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                _refuse_living(descriptor, self.folder, _lock(descriptor, self.folder, shared=True))
            finally:
                os.close(descriptor)
            self.path.unlink()
            self._open()
        except OSError:
            raise PisamError(
                f"{self.path}: no lock that this process may take ({reason.strerror}); remove it if nobody "
                "writes there, or write to another folder"
            ) from reason

    def _make_folders(self) -> None:
        missing = [folder for folder in (self.path.parent, *self.path.parent.parents) if not folder.exists()]
        for folder in reversed(missing):
            with suppress(FileExistsError):
                folder.mkdir()
                self._made.append(folder)

    def _give_signs(self) -> None:
        while not self._end.wait(SECONDS_BETWEEN_SIGNS):
            try:
                mine = _same_file(self._descriptor, self.path)
                os.utime(self._descriptor)
            except OSError:
                continue  # the file system is away; others will take this process for dead
            if not mine and not self._end.is_set():
                sys.stderr.write(
                    f"error: {self.folder}: taken over by another process while this one stood still\n"
                )
                sys.stderr.flush()
                os._exit(2)


@contextmanager
def holding(folder: str | Path) -> Iterator[Lock]:
    """Write to a folder alone; errors as `Lock.acquire`."""
    lock = Lock(Path(folder))
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def lock_file(folder: Path) -> Path:
    """The path of a folder's lock, the same whatever links lead to the folder."""
    absolute = Path(os.path.realpath(folder))
    return absolute.with_name(f".{absolute.name}.lock")


def machine() -> str:
    """An identity of this machine since it was started; others may have the same name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def read_lock(folder: Path) -> tuple[dict[str, Any], float]:
    """The holder's announcement, and the time of its last sign of life; for other processes.

    Reading the file ends the operating system's lock of a process that holds it.
    """
    try:
        descriptor = os.open(lock_file(folder), os.O_RDONLY)
    except OSError:
        return {}, 0.0
    try:
        return _content(descriptor), os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, *, shared: bool = False) -> bool:
    """Ask the operating system for the lock; False where its file system has none.

    Args:
        shared: to see whether another process has it, of a file that may only be read.

    Raises:
        PisamError: another process has it.
    """
    try:
        import fcntl

        # Not `flock`: a forked loader process would hold that on, after its parent's death.
        fcntl.lockf(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise _in_use(folder, _content(descriptor)) from None
    except (ImportError, OSError):
        return False
    return True


def _refuse_living(descriptor: int, folder: Path, held_by_kernel: bool) -> None:
    """Refuse where the one whom the file names still lives."""
    holder = _content(descriptor)
    if not holder:
        return
    if holder.get("machine") == machine():
        if not held_by_kernel and _is_alive(holder.get("pid")):
            raise _in_use(folder, holder)
        return
    last = os.fstat(descriptor).st_mtime
    end = time.monotonic() + SECONDS_WITHOUT_SIGN
    log.warning(
        "%s: process %s on %s wrote here; waiting up to %.0f s whether it lives",
        folder,
        holder.get("pid"),
        holder.get("host"),
        SECONDS_WITHOUT_SIGN,
    )
    while time.monotonic() < end:
        time.sleep(min(1.0, SECONDS_WITHOUT_SIGN / 4))
        if os.fstat(descriptor).st_mtime != last:
            raise _in_use(folder, holder)


def _content(descriptor: int) -> dict[str, Any]:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _is_alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, TypeError, ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _in_use(folder: Path, holder: dict[str, Any]) -> PisamError:
    who = f"process {holder.get('pid', '?')} on {holder.get('host', 'an unknown host')}"
    since = f" since {holder['since']}" if "since" in holder else ""
    return PisamError(
        f"{folder}: in use by {who}{since}; wait until it ends, end it, or write to another folder"
    )
