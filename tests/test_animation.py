"""The script that draws the README's animated picture."""

from __future__ import annotations

import runpy
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def test_animation_is_drawn_anew_as_it_is_kept(tmp_path: Path) -> None:
    main = runpy.run_path(str(ROOT / "docs" / "animation.py"))["main"]
    main(str(ROOT / "docs" / "quickstart.jpg"), str(tmp_path / "clicks.gif"))
    kept = ROOT / "docs" / "clicks.gif"
    assert kept.stat().st_size < 400_000
    with Image.open(tmp_path / "clicks.gif") as new, Image.open(kept) as old:
        assert new.size == old.size
        assert getattr(new, "n_frames", 1) == getattr(old, "n_frames", 1) == 3
