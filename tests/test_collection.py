"""No test is left out unseen."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def test_pytest_passes_over_no_folder_of_tests(pytestconfig: pytest.Config) -> None:
    folders = {folder for file in TESTS.rglob("test_*.py") for folder in file.relative_to(TESTS).parent.parts}
    assert "modeling" in folders
    left_out = pytestconfig.getini("norecursedirs")
    assert not [folder for folder in folders if any(fnmatch(folder, pattern) for pattern in left_out)]


def test_helpers_beside_tests_are_found(pytestconfig: pytest.Config) -> None:
    helpers = {
        file.parent
        for file in TESTS.rglob("*.py")
        if not file.name.startswith("test_") and file.name != "conftest.py"
    }
    assert helpers == set(pytestconfig.getini("pythonpath"))
