"""One writer in a folder: among processes, after SIGKILL, between machines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pisam.core import lock
from pisam.core.errors import PisamError
from pisam.core.lock import Lock, holding, lock_file, read_lock

HOLDER = """
import sys, time
from pisam.core.lock import Lock
Lock(__import__("pathlib").Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `run`."""
    source = str(Path(lock.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": source},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_second_process_is_refused_by_process_and_host(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(
        PisamError, match=rf"run: in use by process {holder.pid} on {os.uname().nodename} since "
    ):
        Lock(tmp_path / "run").acquire()
    assert lock_file(tmp_path / "run").exists(), "it stays its holder's"


def test_links_to_a_folder_lead_to_its_one_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link").symlink_to("../run")
    (tmp_path / "parent").symlink_to(tmp_path)
    for way in (tmp_path / "other" / "link", tmp_path / "parent" / "run"):
        with pytest.raises(PisamError, match=f"in use by process {holder.pid}"):
            Lock(way).acquire()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be two users")
def test_another_users_lock_is_refused_while_it_lives_and_then_replaced() -> None:
    with tempfile.TemporaryDirectory() as open_to_all:  # pytest's own are closed to other users
        os.chmod(open_to_all, 0o777)
        run = Path(open_to_all) / "run"
        first = Lock(run)
        first.acquire()
        assert f"process {os.getpid()} on" in _as_nobody(run)
        left = lock_file(run).read_bytes()  # which ends the kernel's lock
        first.release()
        lock_file(run).write_bytes(left.replace(str(os.getpid()).encode(), b"999999999"))
        assert _as_nobody(run) == ""
        assert not lock_file(run).exists()
        lock_file(run).mkdir()
        with pytest.raises(PisamError, match="no lock that this process may take"):
            Lock(run).acquire()


def _as_nobody(folder: Path) -> str:
    """The error of a process of another user that wants the lock; empty where it gets it."""
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            lock.HELD.clear()
            try:
                own = Lock(folder)
                own.acquire()
                code = 0 if own._descriptor >= 0 else 3
                own.release()
            except PisamError as error:
                folder.with_name("said").write_text(str(error))
                code = 2
        os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 2)
    return folder.with_name("said").read_text() if code else ""


def test_lock_of_a_killed_process_is_taken_at_once(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock_file(tmp_path / "run").exists()
    begun = time.monotonic()
    with holding(tmp_path / "run"):
        assert read_facts(tmp_path / "run")["pid"] == os.getpid()
    assert time.monotonic() - begun < 5
    assert not lock_file(tmp_path / "run").exists()


def read_facts(folder: Path) -> dict[str, object]:
    """By a process of its own: reading would end this one's lock."""
    code = "import sys; print(open(sys.argv[1]).read())"
    command = [sys.executable, "-c", code, str(lock_file(folder))]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_the_same_process_cannot_write_twice_either(tmp_path: Path) -> None:
    with holding(tmp_path / "run"), pytest.raises(PisamError, match=f"in use by process {os.getpid()}"):
        Lock(tmp_path / "run").acquire()


def test_forked_process_that_lives_on_does_not_hold_it(tmp_path: Path) -> None:
    """As a loader's process whose parent was killed."""
    first = Lock(tmp_path / "run")
    first.acquire()
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    try:
        first.release()
        with holding(tmp_path / "run"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def of_another_machine(folder: Path) -> Path:
    file = lock_file(folder)
    file.write_text(json.dumps({"pid": 71, "host": "node7", "machine": "another"}))
    return file


def test_holder_on_another_machine_counts_while_it_gives_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SECONDS_WITHOUT_SIGN", 20.0)
    file, end = of_another_machine(tmp_path / "run"), threading.Event()

    def give_signs() -> None:
        while not end.wait(0.05):
            os.utime(file)

    signs = threading.Thread(target=give_signs)
    signs.start()
    try:
        with pytest.raises(PisamError, match="in use by process 71 on node7"):
            Lock(tmp_path / "run").acquire()
    finally:
        end.set()
        signs.join()


def test_holder_on_another_machine_that_died_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SECONDS_WITHOUT_SIGN", 0.2)
    of_another_machine(tmp_path / "run")
    with holding(tmp_path / "run"):
        assert read_facts(tmp_path / "run")["pid"] == os.getpid()


def test_nothing_is_left_of_a_folder_that_was_made_for_the_lock_alone(tmp_path: Path) -> None:
    with holding(tmp_path / "new" / "run" / "stage1"):
        assert (tmp_path / "new" / "run").is_dir()
    assert not (tmp_path / "new").exists()
    with holding(tmp_path / "new" / "run" / "stage1"):
        (tmp_path / "new" / "run" / "kept").touch()
    assert [path.name for path in (tmp_path / "new" / "run").iterdir()] == ["kept"]


def test_what_is_announced_is_read_by_others(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    facts, signed = read_lock(tmp_path / "run")
    assert facts["pid"] == holder.pid and time.time() - signed < 60
    assert read_lock(tmp_path / "other") == ({}, 0.0)


def test_damaged_lock_file_of_nobody_is_taken(tmp_path: Path) -> None:
    lock_file(tmp_path / "run").write_bytes(b"\xff\x00[")
    with holding(tmp_path / "run"):
        pass


def test_where_no_lock_can_be_kept_what_is_written_next_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with holding(tmp_path / "file" / "run"):  # no folder can be made there
        pass
