"""The page about the metrics says what they give."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).resolve().parents[2] / "docs/metrics.md"


def test_every_example_of_the_page_gives_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask, prediction = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    mask[10:40, 20:60], prediction[10:40, 22:60], prediction[50:52, 5:10] = 255, 230, 140
    for folder, picture in (("masks", mask), ("theirs", prediction)):
        (tmp_path / folder).mkdir()
        for name in ("one", "two"):
            Image.fromarray(picture).save(tmp_path / folder / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    example = doctest.DocTestParser().get_doctest(text, {}, "metrics.md", str(PAGE), 0)
    assert len(example.examples) > 20
    told: list[str] = []
    failed, _ = doctest.DocTestRunner(verbose=False).run(example, out=told.append)
    assert not failed, "".join(told)
