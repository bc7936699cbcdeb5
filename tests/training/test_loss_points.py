"""Where the points of the loss lie."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pisam.core.types import Clicks
from pisam.training.loss_points import SPREAD, sample_near, sample_points

SIDE = 32
POINTS = 200


def whole(batch_size: int) -> Tensor:
    return torch.full((batch_size, 2), float(SIDE))


def random_logits(batch_size: int) -> Tensor:
    return torch.randn(batch_size, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


def clicks_at(points: list[list[list[float]]], valid: list[list[bool]]) -> Clicks:
    return Clicks(
        points=torch.tensor(points),
        labels=torch.zeros(len(points), len(points[0]), dtype=torch.int64),
        valid=torch.tensor(valid),
    )


def test_the_chosen_points_are_the_most_certain_to_be_uncertain() -> None:
    logits = torch.linspace(-10, 10, SIDE).expand(1, 1, SIDE, SIDE)
    points = sample_points(logits, whole(1), SIDE, [1], num_points=4000)
    assert len(points[0].unique(dim=0)) == 4000
    near_zero = (points[0, :, 0] - 0.5).abs()
    # 0.75 N of 3 N candidates: the quarter of the frame around the contour, beside which only fresh ones lie.
    assert near_zero[:3000].max() < 0.14
    assert near_zero[3000:].max() > 0.45
    assert (near_zero < 0.125).float().mean() == pytest.approx(0.75 + 0.25 * 0.25, abs=0.03)


def test_points_are_uniform_without_importance() -> None:
    points = sample_points(random_logits(1), whole(1), SIDE, [1], num_points=8000, importance=0.0)
    counts = torch.histogramdd(points[0], bins=[4, 4], range=[0.0, 1.0, 0.0, 1.0]).hist
    assert ((counts - 500) ** 2 / 500).sum() < 37.7  # chi-squared, 15 degrees of freedom, p = 0.001


def test_points_stay_inside_the_image_content() -> None:
    extent = torch.tensor([[32.0, 7.5], [10.0, 32.0]])
    points = sample_points(random_logits(2), extent, SIDE, [1, 2], num_points=POINTS)
    assert points.shape == (2, POINTS, 2) and points.min() >= 0
    assert (points.amax(dim=1) <= extent / SIDE).all()
    assert (points.amax(dim=1) > 0.95 * extent / SIDE).all()


def test_points_near_clicks_are_normal_around_each_alike() -> None:
    clicks = clicks_at([[[8.5, 24.5], [24.5, 8.5], [16.5, 16.5]]], [[True, True, False]])
    points = sample_near(clicks, whole(1), SIDE, [1], num_points=8000)[0]
    first = points[points[:, 0] < 0.5]
    assert len(first) == pytest.approx(4000, abs=4 * 8000**0.5 / 2)
    for own, centre in ((first, (8.5, 24.5)), (points[points[:, 0] >= 0.5], (24.5, 8.5))):
        off = own - torch.tensor(centre) / SIDE
        assert off.abs().max() < 6 * SPREAD  # so none lies at the third, which is no click
        torch.testing.assert_close(off.mean(dim=0), torch.zeros(2), atol=0.002, rtol=0)
        torch.testing.assert_close(off.std(dim=0), torch.full((2,), SPREAD), atol=0.0015, rtol=0)


def test_points_near_clicks_stay_inside_the_image_content() -> None:
    extent = torch.tensor([[32.0, 7.5], [10.0, 32.0]])
    clicks = clicks_at([[[31.5, 7.0]], [[0.5, 0.5]]], [[True], [True]])
    points = sample_near(clicks, extent, SIDE, [1, 2], num_points=POINTS)
    assert points.shape == (2, POINTS, 2) and points.min() >= 0
    assert (points <= (extent / SIDE).unsqueeze(1)).all()


def test_points_near_clicks_depend_on_their_own_seed_alone() -> None:
    clicks = clicks_at([[[8.5, 8.5]], [[8.5, 8.5]], [[8.5, 8.5]]], [[True], [True], [False]])
    points = sample_near(clicks, whole(3), SIDE, [1, 2, 1], num_points=POINTS)
    alone = sample_near(clicks_at([[[8.5, 8.5]]], [[True]]), whole(1), SIDE, [2], num_points=POINTS)
    assert torch.equal(points[1], alone[0]) and not torch.equal(points[0], points[1])
    assert points[2].isfinite().all()
