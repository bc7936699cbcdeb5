"""The script that draws the README's animated picture, with the model of the repository."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "experiments" / "results" / "real_small" / "pisam_vit_t.safetensors"


@pytest.mark.slow
def test_animation_is_small_and_moves(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PISAM_WEIGHTS", str(shared / "weights"))
    out = tmp_path / "clicks.gif"
    runpy.run_path(str(ROOT / "docs" / "animation.py"))["main"](str(MODEL), str(out))
    assert out.stat().st_size < 1_000_000
    with Image.open(out) as picture:
        assert picture.n_frames > 5
    first, *_, last = (float(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines())
    assert last > first
