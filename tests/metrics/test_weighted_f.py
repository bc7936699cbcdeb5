"""Weighted F where it is delicate: equally near pixels, borders, and distances far from any object."""

from __future__ import annotations

import numpy as np
import pytest
from py_sod_metrics import WeightedFmeasure

from helpers.metric_pairs import Pair, noise
from pisam.metrics import all_scores


def agrees(pair: Pair) -> None:
    measure = WeightedFmeasure()
    measure.step(pair[0], pair[1] * np.uint8(255))
    expected = measure.get_results()["wfm"]
    assert all_scores(*pair, ["weighted_f"])["weighted_f"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6])
def test_of_equally_near_pixels_the_same_one_counts(share: float) -> None:
    for seed in range(25):
        agrees(noise(12, 17, seed, share))


def test_objects_at_corners_and_far_from_a_false_alarm() -> None:
    mask = np.zeros((700, 900), bool)
    mask[:3, :2] = mask[-1, -4:] = True
    levels = np.zeros(mask.shape, np.uint8)
    levels[1:4, 1:3] = 140
    levels[300:400, 400:500] = 90
    levels[-2:, -5:] = 255
    agrees((levels, mask))
