"""Processes end with the one that started them; exchanges end where another process does not answer."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.distributed import DistBackendError, DistNetworkError, DistStoreError

from helpers.small_runs import SOURCE
from pisam.core.errors import PisamError
from pisam.core.processes import explanation, waiting_for_peers

LIMIT = 60  # seconds, for what takes a fraction of one
CHILD = "import sys, pisam.core.processes as c; {}; print('ready', flush=True); sys.stdin.read()"
PARENT = """
import subprocess, sys
from pisam.core.processes import announced_to_children
with announced_to_children():
    subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=sys.stdin).wait()
"""


def python(*arguments: str) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, "-c", *arguments], env={"PYTHONPATH": str(SOURCE)}, start_new_session=True, **pipes
    )  # type: ignore[call-overload]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for the signal")
def test_a_child_ends_with_its_parent_whatever_ends_that(number: int) -> None:
    parent = python(PARENT, CHILD.format("c.serve_starter()"))
    assert parent.stdin and parent.stdout and parent.stdout.readline() == "ready\n"
    parent.send_signal(number)
    assert parent.wait(LIMIT)
    assert parent.stdout.read() == "", "ends when no process holds the pipe any more"


def test_a_child_whose_parent_ended_before_it_asked_ends_at_once() -> None:
    for call, code in (("c.serve(0)", 137), (f"c.end_with_parent(0, {int(signal.SIGTERM)})", 143)):
        child = python(CHILD.format(call))
        assert child.communicate(timeout=LIMIT)[0] == "" and child.returncode == code


def test_what_nobody_announced_itself_to_serves_nobody() -> None:
    child = python(CHILD.format("c.serve_starter()"))
    output, _ = child.communicate(timeout=LIMIT)
    assert (output, child.returncode) == ("ready\n", 0)


def test_ctrl_c_of_a_terminal_is_the_parents_to_hear() -> None:
    child = python("import os; " + CHILD.format("c.serve(os.getppid())"))
    assert child.stdout and child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    child.communicate("", timeout=LIMIT)
    assert child.returncode == 0


GLOO = (
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:239. "
    "This is typically caused by a remote worker crashing. Check the logs!"
)
WAIT = """
import os, signal, threading
from datetime import timedelta
from torch.distributed import TCPStore
from pisam.core.processes import waiting_for_peers
store = TCPStore("127.0.0.1", 0, 1, True, timedelta(seconds=100))
with waiting_for_peers(0.1):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    store.wait(["what never comes"])
"""


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (RuntimeError(GLOO), "ended with: Connection closed by peer [127.0.0.1]:239."),
        (DistNetworkError("Broken pipe\nframe #0: ..."), "ended with: Broken pipe"),
        (DistStoreError("1/2 clients joined."), "ended with: 1/2 clients joined."),
        (DistBackendError("remote process exited"), "ended with: remote process exited"),
    ],
)
def test_an_exchange_that_fails_names_the_other_ranks(error: Exception, end: str) -> None:
    with pytest.raises(PisamError) as told, waiting_for_peers():
        raise error
    text = str(told.value)
    assert (
        text.startswith("another rank has failed, ended or did not come, see what it says")
        and "\n" not in text
    )
    assert text.endswith(end)


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), torch.OutOfMemoryError("CUDA"), PisamError("no such file")]
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert explanation(error) is None
    with pytest.raises(type(error)) as told, waiting_for_peers():
        raise error
    assert told.value is error


def test_ctrl_c_ends_a_wait_in_which_python_hears_none() -> None:
    done = subprocess.run([sys.executable, "-c", WAIT], env={"PYTHONPATH": str(SOURCE)}, timeout=80)
    assert done.returncode == 130


def test_a_block_ends_while_a_process_that_was_forked_in_it_lives_on() -> None:
    """As loader processes do."""
    with waiting_for_peers():
        child = multiprocessing.get_context("fork").Process(target=signal.pause)
        child.start()
    child.kill()
    child.join()


def test_ctrl_c_that_python_hears_unwinds_as_ever() -> None:
    before = signal.set_wakeup_fd(-1)
    with pytest.raises(KeyboardInterrupt), waiting_for_peers():
        signal.raise_signal(signal.SIGINT)
    assert signal.set_wakeup_fd(before) == before == -1


KEPT = """
import numpy
from pathlib import Path
from pisam.core.processes import keep_memory
keep_memory(2**27)
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])
numpy.ones(20_000_000, numpy.uint8)
before = resident()
array = numpy.ones(20_000_000, numpy.uint8)
print(resident() - before)
"""


def pages(script: str) -> int:
    """By how many a second array of 20 MB, 4883 pages, enlarges the process."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return int(output)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not Path("/proc/self/statm").exists(),
    reason="only glibc can be told, and only Linux says what it did",
)
def test_a_freed_array_is_kept_for_the_next() -> None:
    assert pages(KEPT) < 500, "the second array takes the pages of the first"
    assert pages(KEPT.replace("\nkeep_memory(2**27)\n", "\n")) > 4000, "as it is without"
