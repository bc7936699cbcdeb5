"""Levels counted inside and outside the mask, in the quadrants around its centroid."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.metric_pairs import PAIRS
from pisam.metrics import sod
from pisam.metrics.sod import joint_histogram


@pytest.mark.parametrize("name", ["soft-0", "noise", "box-at-border", "empty-soft", "row", "column"])
@pytest.mark.parametrize("pixels_at_once", [2**24, 200])
def test_counts_of_each_quadrant(name: str, pixels_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sod, "_STRIP_PIXELS", pixels_at_once)
    prediction, mask = PAIRS[name]
    histogram = joint_histogram(prediction, mask)
    middle = np.argwhere(mask).mean(0) if mask.any() else np.array(mask.shape) / 2
    row, column = (int(centre) + 1 for centre in middle.round())
    assert histogram.split == (row, column)
    for y, rows in enumerate((slice(0, row), slice(row, None))):
        for x, columns in enumerate((slice(0, column), slice(column, None))):
            for inside in (0, 1):
                chosen = prediction[rows, columns][mask[rows, columns] == inside]
                assert np.array_equal(histogram.counts[y, x, inside], np.bincount(chosen, minlength=256))


def test_levels_that_occur_are_stretched_to_0_and_1() -> None:
    histogram = joint_histogram(np.array([[10, 60, 110]], np.uint8), np.array([[False, True, True]]))
    assert histogram.normalised()[0] == pytest.approx([0, 0.5, 1], abs=1e-15)


def test_a_constant_prediction_stays_as_it_is() -> None:
    histogram = joint_histogram(np.full((2, 3), 51, np.uint8), np.ones((2, 3), bool))
    assert histogram.normalised() == pytest.approx(0.2)
