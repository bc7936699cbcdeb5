"""The script that draws the README's animated picture."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def test_animation_shows_the_box_and_every_click(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clicks.gif"
    runpy.run_path(str(ROOT / "docs" / "animation.py"))["main"](str(checkpoint), str(out))
    assert out.stat().st_size < 1_000_000
    answers = capsys.readouterr().out.splitlines()
    with Image.open(out) as picture:
        assert getattr(picture, "n_frames", 1) == 2 + len(answers)
