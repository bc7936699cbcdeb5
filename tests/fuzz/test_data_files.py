"""No file ends a process, eats its memory or raises anything but one line: a thousand of each kind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuzz.picture_cases import run_case
from helpers.fuzzing import failures, refusal
from pisam.core.errors import PisamError

# Another start tries other files: PISAM_FUZZ_SEED=5000 make test-slow.
FIRST = int(os.environ.get("PISAM_FUZZ_SEED", "0"))


@pytest.mark.slow
@pytest.mark.parametrize(("module", "count"), [("fuzz.coco_cases", 1200), ("fuzz.picture_cases", 600)])
def test_files_are_read_right_or_refused_in_one_line(module: str, count: int) -> None:
    print(f"{module}: seeds {FIRST} to {FIRST + count - 1}")
    found = failures(module, count, FIRST)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("module", "count"), [("fuzz.coco_cases", 40), ("fuzz.picture_cases", 40)])
def test_some_of_them_always(module: str, count: int) -> None:
    assert failures(module, count) == []


@pytest.mark.parametrize("seed", [545])
def test_pictures_that_readers_once_took_unlike(seed: int, tmp_path: Path) -> None:
    try:
        run_case(seed, tmp_path)
    except PisamError as error:
        assert refusal(tmp_path, error) is None
