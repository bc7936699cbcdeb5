"""Human correction effort where errors grow through the background, break up and touch."""

from __future__ import annotations

import numpy as np
import pytest
from py_sod_metrics import HumanCorrectionEffortMeasure

from helpers.metric_pairs import field
from pisam.metrics.functional import KnownMask
from pisam.metrics.hce import human_correction_effort


def published(prediction: np.ndarray, mask: np.ndarray) -> int:
    measure = HumanCorrectionEffortMeasure()
    measure.step(prediction.astype(float), mask, normalize=False)
    return int(measure.get_results()["hce"])


@pytest.mark.parametrize("sigma", [1.5, 4, 9])
@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_unrelated_shapes_with_holes(sigma: float, noise: float) -> None:
    for seed in range(4):
        random = np.random.default_rng(seed)
        mask = field(150, 190, sigma, seed) > 0.3
        prediction = (field(150, 190, sigma, seed + 50) > 0) & (random.random(mask.shape) > noise)
        assert human_correction_effort(prediction, KnownMask(mask)) == published(prediction, mask)


@pytest.mark.parametrize("gap", [1, 3, 6])
def test_a_thin_error_beside_a_thick_one_counts_if_near(gap: int) -> None:
    mask, prediction = np.zeros((2, 80, 120), bool)
    mask[10:70, 10:40] = prediction[10:70, 10:70] = True
    prediction[20:60, 70 + gap : 72 + gap] = True
    assert human_correction_effort(prediction, KnownMask(mask)) == published(prediction, mask)
    assert human_correction_effort(mask, KnownMask(prediction)) == published(mask, prediction)


def test_a_perfect_mask_needs_nothing() -> None:
    mask = field(90, 110, 5, 0) > 0
    assert human_correction_effort(mask, KnownMask(mask)) == 0
