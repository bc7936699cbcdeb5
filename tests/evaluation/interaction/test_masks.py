"""Masks of a benchmark come back as they were, under the names of their images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pisam.evaluation.interaction.masks import mask_path, save_mask
from pisam.evaluation.predictions import read_prediction


def test_a_mask_reads_back_as_a_prediction_of_its_size(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((37, 51)) > 0.5
    save_mask(tmp_path, "HQ-SAM+mask", "after", "val", "a#b.c", mask)
    path = tmp_path / "HQ-SAM+mask" / "after" / "val" / "a#b.c.png"
    assert path == mask_path(tmp_path, "HQ-SAM+mask", "after", "val", "a#b.c")
    assert np.array_equal(read_prediction(path), mask * np.uint8(255))
    assert [file.name for file in path.parent.iterdir()] == ["a#b.c.png"]


def test_a_4k_mask_is_small(tmp_path: Path) -> None:
    mask = np.zeros((2160, 3840), dtype=bool)
    mask[500:1500, ::7] = True
    save_mask(tmp_path, "m", "before", "val", "image", mask)
    assert mask_path(tmp_path, "m", "before", "val", "image").stat().st_size < 100_000
