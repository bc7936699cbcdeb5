"""What the speed measurements share."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Write a line that is seen also where the test passes."""

    def write(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="")

    return write
