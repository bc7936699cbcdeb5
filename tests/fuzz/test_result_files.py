"""No file of results ends a command with more than one line, whatever it holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuzz.result_cases import COMMANDS, INPUTS, called, write_inputs
from helpers.fuzzing import failures

pytestmark = pytest.mark.slow

FIRST = int(os.environ.get("PISAM_FUZZ_SEED", "0"))
COUNT = 420


@pytest.fixture(scope="module", autouse=True)
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("results"))


def test_changed_files_are_read_or_refused_in_one_line(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INPUTS, str(inputs))
    print(f"seeds {FIRST} to {FIRST + COUNT - 1}")
    found = failures("fuzz.result_cases", COUNT, FIRST)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_files_as_they_are_let_every_command_begin(inputs: Path, name: str) -> None:
    """Or nothing would be tried."""
    assert called(COMMANDS[name], inputs) == 0
