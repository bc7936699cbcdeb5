"""Clicks made from clicks, and what is measured at and away from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pisam.clicks.simulate import simulate_clicks
from pisam.core.types import Clicks
from pisam.evaluation.interaction.controls import (
    NEAR,
    anywhere,
    collateral,
    exchanged,
    first_clicks,
    gain_away,
    near_clicks,
    share_obeyed,
    spoilt,
    to_frame,
)

SIZE = (40, 60)  # height, width


def clicks_of(*rows: tuple[float, float, int]) -> Clicks:
    table = torch.tensor(rows, dtype=torch.float64).reshape(1, -1, 3)
    return Clicks(table[..., :2].float(), table[..., 2].long(), torch.ones(table.shape[:2], dtype=torch.bool))


CLICKS = clicks_of((20.5, 8.5, 1), (3.5, 30.5, 0), (50.5, 39.5, 1))


def test_first_clicks() -> None:
    assert first_clicks(CLICKS, 2).points.tolist() == [[[20.5, 8.5], [3.5, 30.5]]]
    assert first_clicks(CLICKS, 9).labels.tolist() == [[1, 0, 1]]


def test_exchanged_labels_stay_in_place() -> None:
    assert exchanged(CLICKS).labels.tolist() == [[0, 1, 0]]
    assert exchanged(CLICKS).points is CLICKS.points


def test_random_places_fill_the_image_and_keep_the_labels() -> None:
    many = clicks_of(*[(0.5, 0.5, index % 2) for index in range(400)])
    moved = anywhere(many, SIZE, seed=1)
    assert moved.labels.equal(many.labels)
    assert (moved.points % 1 == 0.5).all()
    low, high = moved.points[0].amin(dim=0), moved.points[0].amax(dim=0)
    assert (low < 3).all() and high[0] > 57 and 37 < high[1] < 40
    assert not anywhere(many, SIZE, seed=2).points.equal(moved.points)


@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0])
def test_half_of_the_noise_moves_clicks_and_half_changes_labels(noise: float) -> None:
    many = clicks_of(*[(30.25, 20.75, 1)] * 2000)
    noisy = spoilt(many, SIZE, 5, noise)
    moved = (noisy.points != many.points).any(dim=-1)
    relabelled = noisy.labels != many.labels
    assert float(moved.float().mean()) == pytest.approx(noise / 2, abs=0.03)
    assert float(relabelled.float().mean()) == pytest.approx(noise / 2, abs=0.03)
    assert not (moved & relabelled).any()
    assert noise or noisy.points.equal(many.points)


def test_noise_is_that_of_the_simulator() -> None:
    """The same share of the simulator's own clicks would be spoilt: no click survives noise 1 in either."""
    mask = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    mask[..., 5:35, 5:55] = True
    clicks, noisy = (
        simulate_clicks(~mask & False, mask, seeds=[1], policy=policy, noise=noise)
        for policy, noise in (("paper", 0.0), ("noisy", 1.0))
    )
    ours = spoilt(
        Clicks(
            clicks.points[clicks.valid][None],
            clicks.labels[clicks.valid][None],
            clicks.valid[clicks.valid][None],
        ),
        SIZE,
        1,
        1.0,
    )
    for spoilt_ones in (noisy, ours):
        n = int(clicks.valid.sum())
        same = (spoilt_ones.points[0, :n] == clicks.points[0, :n]).all(dim=1)
        assert not (same & (spoilt_ones.labels[0, :n] == clicks.labels[0, :n])).any()


def test_clicks_in_the_frame_that_the_image_was_squashed_into() -> None:
    framed = to_frame(CLICKS, SIZE, 120)
    assert framed.points.tolist() == [[[41.0, 25.5], [7.0, 91.5], [101.0, 118.5]]]
    assert framed.labels.equal(CLICKS.labels)


def test_near_is_a_disc_around_pixel_centres() -> None:
    points = torch.tensor([[20.5, 8.5], [0.0, 30.0]])
    near = near_clicks(points, SIZE).numpy()
    expected = np.zeros(SIZE, bool)
    for y in range(40):
        for x in range(60):
            expected[y, x] = any(math.dist((x + 0.5, y + 0.5), point) <= NEAR for point in points.tolist())
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
    tensors = [torch.from_numpy(array) for array in (before, after, mask, away)]
    assert gain_away(*tensors) == pytest.approx(overlap(after) - overlap(before), abs=1e-6)
    assert collateral(*tensors) == pytest.approx(sum(after[i] != mask[i] for i in right) / len(right))
    assert collateral(*tensors[:3], torch.zeros(12, 15, dtype=torch.bool)) == 0


def test_obeyed_is_the_share_of_clicked_pixels_that_are_what_was_said() -> None:
    prediction = torch.zeros(SIZE, dtype=torch.bool)
    prediction[8, 20] = prediction[30, 3] = True
    assert share_obeyed(prediction, CLICKS) == pytest.approx(
        1 / 3
    )  # of object, background, object: the first
    assert math.isnan(share_obeyed(prediction, first_clicks(CLICKS, 0)))
