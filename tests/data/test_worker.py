"""A worker keeps the memory of one sample for the next."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

KEPT = """
import numpy
from pathlib import Path
from pisam.data.worker import keep_memory
keep_memory()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])
numpy.ones(20_000_000, numpy.uint8)
before = resident()
array = numpy.ones(20_000_000, numpy.uint8)
with_it = resident()
del array
print(with_it - before, resident() - before)
"""


def pages(script: str) -> list[int]:
    """Pages of an array of 20 MB while it lives, and still there when it is freed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return [int(number) for number in output.split()]


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not Path("/proc/self/statm").exists(),
    reason="only glibc can be told, and only Linux says what it did",
)
def test_a_freed_array_is_kept_for_the_next() -> None:
    added, _ = pages(KEPT)
    assert added < 500, "the second array takes the pages of the first"
    plain_added, plain_left = pages(KEPT.replace("\nkeep_memory()\n", "\n"))
    assert plain_added > 4000 and plain_left < 500, "as it is without"
