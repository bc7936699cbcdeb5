"""A small data folder that the tests of this directory share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets `a` (9 pairs), `b` (4) and `val` (5) of small images of different sizes."""
    root = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    for name, count in (("a", 9), ("b", 4), ("val", 5)):
        for part in ("images", "masks"):
            (root / name / part).mkdir(parents=True)
        for index in range(count):
            height, width = rng.integers(60, 100, 2)
            mask = np.zeros((height, width), np.uint8)
            mask[10:50, 15 : 20 + 5 * index] = 255
            image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / name / "images" / f"{index}#{name}.x.jpg")
            Image.fromarray(mask).save(root / name / "masks" / f"{index}#{name}.x.png")
    return root


@pytest.fixture(scope="session")
def rows(tiny_root: Path) -> dict[str, dict[str, str]]:
    """The configuration rows of `tiny_root`'s sets."""
    return {n: {"name": n, "images": f"{n}/images", "masks": f"{n}/masks"} for n in ("a", "b", "val")}
