"""What is said where another rank does not answer, and Ctrl-C in a wait for it."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys

import pytest
import torch
from torch.distributed import DistBackendError, DistNetworkError, DistStoreError

from helpers.small_runs import SOURCE
from pisam.core.errors import PisamError
from pisam.core.peers import explanation, waiting_for_peers

GLOO = (
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:239. "
    "This is typically caused by a remote worker crashing. Check the logs!"
)
WAIT = """
import os, signal, threading
from datetime import timedelta
from torch.distributed import TCPStore
from pisam.core.peers import waiting_for_peers
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
