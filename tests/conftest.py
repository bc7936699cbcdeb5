"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development inputs beside the repository: photographs, weights, parity outputs."""
    folder = Path(os.environ.get("PISAM_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"development inputs absent: no folder {folder} (set PISAM_SHARED to it)")
    return folder
