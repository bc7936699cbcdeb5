"""What importing the package costs and loads; measured in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pisam

SOURCE = Path(__file__).resolve().parents[1] / "src"
HEAVY = [
    "wandb",
    "albumentations",
    "cv2",
    "lightning",
    "timm",
    "torchmetrics",
    "segment_anything",
    "matplotlib",
]


def run_fresh(code: str) -> str:
    """Standard output of `code` in an interpreter that has imported nothing yet."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_import_pisam_loads_nothing_heavy_and_takes_under_300_ms_after_torch() -> None:
    loaded, seconds = run_fresh(f"""
import time, torch
start = time.perf_counter()
import pisam
print([name for name in {HEAVY} if name in sys.modules], time.perf_counter() - start, sep="|")
""").split("|")
    assert loaded == "[]"
    assert float(seconds) < 0.3


def test_import_pisam_modeling_loads_no_training_library() -> None:
    loaded = run_fresh(
        "import pisam.modeling.pisam, pisam.modeling.released\n"
        f"print([name for name in {HEAVY[:5]} if name in sys.modules])"
    )
    assert loaded == "[]"


@pytest.mark.parametrize("name", pisam.__all__)
def test_public_name_is_found_and_listed(name: str) -> None:
    assert getattr(pisam, name) is not None
    assert name in dir(pisam)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'simulate_click'"):
        _ = pisam.simulate_click
