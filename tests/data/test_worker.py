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
print(resident() - before)
"""


def pages(script: str) -> int:
    """By how many a second array of 20 MB, 4883 pages, enlarges the process."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return int(output)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not Path("/proc/self/statm").exists(),
    reason="only glibc can be told, and only Linux says what it did",
)
def test_a_freed_array_is_kept_for_the_next() -> None:
    assert pages(KEPT) < 500, "the second array takes the pages of the first"
    assert pages(KEPT.replace("\nkeep_memory()\n", "\n")) > 4000, "as it is without"
