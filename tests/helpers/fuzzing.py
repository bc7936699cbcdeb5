"""Many generated cases in a process of their own, under limits of time and memory.

A case is a number: `python fuzzing.py MODULE FIRST COUNT` imports MODULE, which has `run_case(seed, folder)`,
and writes a line before each. Whatever a case raises but `PisamError` of one line that names something in its
folder is a failure; so is the end of the process.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
MEMORY = 2**30  # bytes beyond what the process has once everything is imported
SECONDS = 5
LONGEST_MESSAGE = 2000


def failures(module: str, count: int, first: int = 0) -> list[str]:
    """What went wrong among `count` cases of a module, with the seed that shows it again."""
    found: list[str] = []
    begin, end = first, first + count
    while begin < end:  # again behind the case that ended the process
        command = [sys.executable, __file__, module, str(begin), str(end - begin)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(TESTS)])}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1200)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        found += [f"{module} seed {line['seed']}: {line['wrong']}" for line in lines if line.get("wrong")]
        started = [line["seed"] for line in lines if "wrong" not in line]
        if done.returncode == 0 and len(started) == end - begin:
            break
        last = started[-1] if started else begin
        found.append(f"{module} seed {last}: the process ended with {done.returncode}: {done.stderr[-500:]}")
        begin = last + 1
    return found


def refusal(folder: Path, error: Exception) -> str | None:
    """What is wrong with a refusal: None if it is one line that names a file of the case."""
    text = str(error)
    if "\n" in text or len(text) > LONGEST_MESSAGE:
        return f"not one short line: {text[:300]!r}"
    return None if str(folder) in text else f"names no file: {text[:300]}"


@contextmanager
def _in_time() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    begin = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if time.monotonic() - begin > SECONDS:
        raise TimeoutError(f"more than {SECONDS} s")


def _work(module: str, first: int, count: int) -> None:
    from pisam.core.errors import PisamError

    run_case = importlib.import_module(module).run_case
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for seed in range(first, first + count):
        print(json.dumps({"seed": seed}), flush=True)
        with tempfile.TemporaryDirectory() as name:
            wrong = None
            try:
                with _in_time():
                    run_case(seed, Path(name))
            except PisamError as error:
                wrong = refusal(Path(name), error)
            except BaseException as error:
                wrong = f"{type(error).__name__}: {error} at {traceback.format_exc()[-600:]}"
        if wrong:
            print(json.dumps({"seed": seed, "wrong": wrong}), flush=True)


if __name__ == "__main__":
    _work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
