from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from scipy.stats import chisquare

from helpers.click_scenes import batch_of, images, missed, repeated
from helpers.reference import click_components, click_distances, click_erosion
from pisam.clicks.simulate import simulate_clicks


def pixels(clicks, sample: int = 0) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in clicks.points[sample, clicks.valid[sample]]]


@given(images())
@settings(max_examples=100, deadline=None)
def test_released_clicks_once_in_each_eroded_component_largest_first(image):
    wrong, mask = image
    points = pixels(simulate_clicks(*batch_of(wrong, mask), seeds=[1], policy="released", max_clicks=3))
    components = [c["pixels"] for c in click_components(click_erosion(wrong, mask), mask)]
    areas = sorted((len(component) for component in components if len(component) >= 2), reverse=True)
    owners = [next(component for component in components if point in component) for point in points]
    assert [len(owner) for owner in owners] == areas[:3]
    assert len({min(owner) for owner in owners}) == len(owners)


def test_released_draws_uniformly_from_the_eroded_component():
    batch = repeated(missed(np.s_[1:7, 1:8], shape=(8, 9)), 2000)
    clicks = simulate_clicks(*batch, seeds=range(2000), policy="released", max_clicks=1)
    x, y = clicks.points[clicks.valid].long().T - 2
    assert chisquare(np.bincount(y * 5 + x, minlength=20)).pvalue > 0.001


@given(images())
@settings(max_examples=100, deadline=None)
def test_centre_is_the_deepest_pixel_of_the_largest_component(image):
    wrong, mask = image
    points = pixels(simulate_clicks(*batch_of(wrong, mask), seeds=[1], policy="centre"))
    components = [c["pixels"] for c in click_components(wrong, mask)]
    if not components:
        assert points == []
        return
    (point,) = points
    owner = next(component for component in components if point in component)
    distances = click_distances(owner)
    assert len(owner) == max(map(len, components))
    assert np.isclose(distances[point], max(distances.values()), rtol=1e-5)


def test_uniform_draws_different_pixels_of_the_whole_error():
    batch = repeated(missed(np.s_[0:1, 0:2], np.s_[4:7, 3:6], shape=(8, 9)), 2000)
    clicks = simulate_clicks(*batch, seeds=range(2000), policy="uniform", max_clicks=3)
    assert clicks.valid.all()
    x, y = clicks.points.long().unbind(-1)
    cells = y * 9 + x
    assert all(len(set(row)) == 3 for row in cells.tolist())
    counts = np.bincount(cells.flatten(), minlength=72)
    assert np.count_nonzero(counts) == 11 and chisquare(counts[counts > 0]).pvalue > 0.001


def test_uniform_stops_when_the_error_is_used_up():
    clicks = simulate_clicks(*missed(np.s_[0:1, 0:2], shape=(8, 9)), seeds=[0], policy="uniform")
    assert sorted(pixels(clicks)) == [(0, 0), (1, 0)]


def noisy(noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of 2000 clicks on one component were moved and which mislabelled."""
    batch = repeated(missed(np.s_[10:20, 10:20], shape=(60, 60)), 2000)
    honest = simulate_clicks(*batch, seeds=range(2000), max_clicks=1)
    spoilt = simulate_clicks(*batch, seeds=range(2000), max_clicks=1, policy="noisy", noise=noise)
    assert torch.equal(honest.valid, spoilt.valid)
    moved = (honest.points != spoilt.points).any(-1)[honest.valid]
    return moved, (honest.labels != spoilt.labels)[honest.valid]


def test_noisy_without_noise_is_the_paper():
    moved, mislabelled = noisy(0.0)
    assert not moved.any() and not mislabelled.any()


def test_noisy_spoils_the_share_it_is_told_half_each_way():
    moved, mislabelled = noisy(0.3)
    assert not (moved & mislabelled).any()
    assert abs(float(moved.float().mean()) - 0.15) < 0.03
    assert abs(float(mislabelled.float().mean()) - 0.15) < 0.03


def test_noisy_moves_clicks_anywhere_in_the_image():
    mask = torch.zeros(1, 1, 20, 40, dtype=torch.bool)
    mask[..., 5:9, 5:9] = True
    batch = repeated((torch.zeros_like(mask), mask), 4000)
    clicks = simulate_clicks(*batch, seeds=range(4000), max_clicks=1, policy="noisy", noise=1.0)
    moved = clicks.points[clicks.valid & (clicks.labels == 1)]
    assert chisquare(np.histogram(moved[:, 0], bins=8, range=(0, 40))[0]).pvalue > 0.001
    assert chisquare(np.histogram(moved[:, 1], bins=5, range=(0, 20))[0]).pvalue > 0.001


def test_centre_is_exact_where_a_chamfer_distance_errs():
    y, x = np.mgrid[:24, :24] - np.array([12, 11])[:, None, None]
    along, across = x * np.cos(1.2) + y * np.sin(1.2), y * np.cos(1.2) - x * np.sin(1.2)
    tilted = (abs(along) < 7) & (abs(across) < 9)
    ((x, y),) = pixels(simulate_clicks(*batch_of(tilted, tilted), seeds=[0], policy="centre"))
    distances = click_distances({(int(i), int(j)) for j, i in np.argwhere(tilted)})
    assert np.isclose(distances[x, y], max(distances.values()), rtol=1e-5)
