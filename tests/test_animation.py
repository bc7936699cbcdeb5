"""The script that draws the README's animated picture."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "experiments" / "results" / "real_small" / "pisam_vit_t.safetensors"


@pytest.mark.slow
def test_clicks_gain_and_the_picture_is_small(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PISAM_WEIGHTS", str(shared / "weights"))
    out = tmp_path / "clicks.gif"
    runpy.run_path(str(ROOT / "docs" / "animation.py"))["main"](str(MODEL), str(out))
    assert out.stat().st_size < 1_000_000
    found = re.findall(r"IoU (\S+) from the box, (\S+) after (\d+) clicks", capsys.readouterr().out)
    gains = [float(after) - float(before) for before, after, _ in found]
    assert max(gains) > 0
    with Image.open(out) as picture:
        assert getattr(picture, "n_frames", 1) == 3 + 2 * int(found[gains.index(max(gains))][2])
