"""Children hear of every signal, and of Ctrl-C that only their parent was sent."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any

import pytest

from pisam.commands.sweeps import processes
from pisam.commands.sweeps.processes import SIGNALS, run_together

LONG = ["sleep", "40"]  # seconds that nothing here waits for


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Signals that come in the very moment in which a child was started; one each."""
    coming: list[int] = []
    popen = subprocess.Popen

    def interrupted(*args: Any, **kwargs: Any) -> subprocess.Popen:
        child = popen(*args, **kwargs)
        if coming:
            os.kill(os.getpid(), coming.pop())
        return child

    monkeypatch.setattr(processes.subprocess, "Popen", interrupted)
    return coming


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_the_start_of_a_child_reaches_it_and_no_other_is_started(
    start: list[int], number: int
) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    start.append(number)
    assert run_together([LONG, LONG]) == ([-number], True)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_every_child_hears_each_signal_once() -> None:
    """The second sends TERM to this process; both count."""
    count = "n=0; trap 'n=$((n + 1))' TERM; {}while [ $n = 0 ]; do sleep 0.05; done; sleep 0.2; exit $n"
    ask = 'sleep 0.5; kill -TERM "$PPID"; '
    assert run_together([["sh", "-c", count.format(what)] for what in ("", ask)]) == ([1, 1], True)


@pytest.mark.parametrize("deaf", [False, True])
def test_ctrl_c_sent_to_this_process_alone_ends_the_children(
    monkeypatch: pytest.MonkeyPatch, deaf: bool
) -> None:
    """Those that a terminal told are waited for; others are told, by SIGTERM where they hear no SIGINT."""
    monkeypatch.setattr(processes, "SECONDS_BY_THEMSELVES", 0.1)
    monkeypatch.setattr(processes, "SECONDS_WHEN_TOLD", 0.1 if deaf else 30.0)
    started: list[subprocess.Popen] = []
    popen = subprocess.Popen

    def noted(*args: Any, **kwargs: Any) -> subprocess.Popen:
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", noted)
    ask = 'sleep 0.2; kill -INT "$PPID"; exec sleep 40'
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_together([LONG, ["sh", "-c", "trap '' INT; " * deaf + ask]])
    assert len(started) == 2 and all(child.wait(20) for child in started)
    assert time.monotonic() - begun < 20
