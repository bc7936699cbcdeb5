"""Clicks made from clicks, and what is measured at and away from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pisam.clicks.simulate import simulate_clicks
from pisam.evaluation.interaction.controls import (
    NEAR,
    anywhere,
    collateral,
    exchanged,
    gain_away,
    near_clicks,
    spoilt,
)

SIZE = (40, 60)  # height, width


CLICKS = [(20.5, 8.5, 1), (3.5, 30.5, 0), (50.5, 39.5, 1)]


def test_exchanged_labels_stay_in_place() -> None:
    assert exchanged(CLICKS) == [(20.5, 8.5, 0), (3.5, 30.5, 1), (50.5, 39.5, 0)]


def test_random_places_fill_the_image_and_keep_the_labels() -> None:
    many = [(0.5, 0.5, index % 2) for index in range(400)]
    moved = anywhere(many, SIZE, seed=1)
    assert [label for *_, label in moved] == [label for *_, label in many]
    places = np.array(moved)[:, :2]
    assert (places % 1 == 0.5).all()
    low, high = places.min(axis=0), places.max(axis=0)
    assert (low < 3).all() and high[0] > 57 and 37 < high[1] < 40
    assert anywhere(many, SIZE, seed=2) != moved
    assert anywhere([], SIZE, seed=2) == []


@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0])
def test_half_of_the_noise_moves_clicks_and_half_changes_labels(noise: float) -> None:
    many = [(30.25, 20.75, 1)] * 2000
    noisy = spoilt(many, SIZE, 5, noise)
    moved = np.array([click[:2] != (30.25, 20.75) for click in noisy])
    relabelled = np.array([label != 1 for *_, label in noisy])
    assert moved.mean() == pytest.approx(noise / 2, abs=0.03)
    assert relabelled.mean() == pytest.approx(noise / 2, abs=0.03)
    assert not (moved & relabelled).any()
    assert noise or noisy == many


def test_noise_is_that_of_the_simulator() -> None:
    """The same share of the simulator's own clicks would be spoilt: no click survives noise 1 in either."""
    mask = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    mask[..., 5:35, 5:55] = True
    clicks, noisy = (
        simulate_clicks(~mask & False, mask, seeds=[1], policy=policy, noise=noise).rows(0)
        for policy, noise in (("paper", 0.0), ("noisy", 1.0))
    )
    for spoilt_ones in (noisy, spoilt(clicks, SIZE, 1, 1.0)):
        assert len(spoilt_ones) == len(clicks) > 2
        assert not any(one == other for one, other in zip(clicks, spoilt_ones, strict=True))


def test_near_is_a_disc_around_pixel_centres() -> None:
    points = [(20.5, 8.5), (0.0, 30.0)]
    near = near_clicks(points, SIZE)
    expected = np.zeros(SIZE, bool)
    for y in range(40):
        for x in range(60):
            expected[y, x] = any(math.dist((x + 0.5, y + 0.5), point) <= NEAR for point in points)
    assert (near == expected).all()
    assert not near_clicks(points[:0], SIZE).any()


def test_measures_away_from_clicks_count_pixel_by_pixel() -> None:
    rng = np.random.default_rng(0)
    before, after, mask, away = (rng.random((12, 15)) < share for share in (0.5, 0.6, 0.5, 0.7))
    pixels = [index for index in np.ndindex(12, 15) if away[index]]

    def overlap(prediction: np.ndarray) -> float:
        both = sum(prediction[i] and mask[i] for i in pixels)
        return both / sum(prediction[i] or mask[i] for i in pixels)

    right = [i for i in pixels if before[i] == mask[i]]
    arrays = before, after, mask, away
    assert gain_away(*arrays) == pytest.approx(overlap(after) - overlap(before), abs=1e-6)
    assert collateral(*arrays) == pytest.approx(sum(after[i] != mask[i] for i in right) / len(right))
    assert collateral(*arrays[:3], np.zeros((12, 15), bool)) == 0
