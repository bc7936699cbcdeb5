"""Processes that end with the one that started them: real ones, killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from helpers.small_runs import SOURCE

LIMIT = 60  # seconds, for what takes a fraction of one
CHILD = "import sys, pisam.core.children as c; {}; print('ready', flush=True); sys.stdin.read()"
PARENT = """
import subprocess, sys
from pisam.core.children import announced_to_children
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
