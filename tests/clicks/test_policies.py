"""Where each policy and each simulated user clicks."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.stats import chisquare

from helpers.click_scenes import batch_of, images, missed, repeated
from helpers.reference import click_components, click_distances, click_erosion, ritm_click, squared_depths
from pisam.clicks.policies import deepest_click, human_click
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


KINDS = ("noise", "blobs", "discs", "lines", "stripes", "frame", "empty", "full", "right", "one")


def drawn(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A mask of a kind, bool (H, W)."""
    height, width = shape
    canvas = np.zeros(shape, np.uint8)
    match kind:
        case "noise":
            return rng.random(shape) < rng.random()
        case "blobs":
            return cv2.blur(rng.random(shape).astype(np.float32), (5, 5)) > 0.5
        case "discs":
            for _ in range(3):
                place = (int(rng.integers(width)), int(rng.integers(height)))
                cv2.circle(canvas, place, int(rng.integers(1, 7)), 1, -1)
        case "lines":
            for _ in range(4):
                ends = rng.integers((width, height), size=(2, 2)).tolist()
                cv2.line(canvas, *map(tuple, ends), 1)
        case "stripes":
            canvas[:, :: int(rng.integers(2, 5))] = 1
        case "frame":
            canvas[[0, -1]] = canvas[:, [0, -1]] = 1
        case "full":
            canvas[:] = 1
        case "one":
            canvas[rng.integers(height), rng.integers(width)] = 1
    return canvas > 0


def scenes(number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Predictions and masks of all kinds and sizes."""
    rng = np.random.default_rng(0)
    for index in range(number):
        shape = (int(rng.integers(1, 21)), int(rng.integers(1, 21)))
        kind, other = KINDS[index % len(KINDS)], str(rng.choice(KINDS))
        mask = drawn(kind, shape, rng)
        yield (mask.copy() if other == "right" else drawn(other, shape, rng)), mask


def error_map(prediction: np.ndarray, mask: np.ndarray) -> np.ndarray:
    wrong = prediction ^ mask
    return wrong.astype(np.uint8) + (wrong & mask)


def test_clicks_are_ritms_pixel_for_pixel() -> None:
    """1,200 masks, each clicked until nothing is left or up to 6 times; ties and clicked pixels included."""
    clicks = ends = 0
    for prediction, mask in scenes(1200):
        clicked: set[tuple[int, int]] = set()
        for _ in range(6):
            seen = np.zeros(mask.shape, bool)
            for x, y in clicked:
                seen[y, x] = True
            click = deepest_click(error_map(prediction, mask), seen)
            assert click == ritm_click(prediction, mask, clicked)
            if click is None:
                ends += 1
                break
            clicks += 1
            clicked.add(click[:2])
            cv2.circle(canvas := prediction.astype(np.uint8), click[:2], 1, click[2], -1)
            prediction = canvas > 0
    assert clicks > 3000 and ends > 300


def test_first_click_is_the_deepest_point_of_the_object() -> None:
    """Also on images of the usual size, where distances are large."""
    mask = np.zeros((1400, 1700), np.uint8)
    cv2.ellipse(mask, (900, 650), (610, 480), 20, 0, 360, 1, -1)
    cv2.circle(mask, (900, 650), 90, 0, -1)
    x, y, label = deepest_click(mask * np.uint8(2))  # type: ignore[misc]
    distance = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    assert label == 1 and distance[y, x] == pytest.approx(distance.max(), abs=1e-4)


def test_equal_depths_are_clicked_as_false_foreground_first() -> None:
    errors = np.zeros((5, 9), np.uint8)
    errors[1:4, 0:3], errors[1:4, 5:8] = 2, 1
    assert deepest_click(errors) == (6, 2, 0)


def test_nothing_wrong_nothing_clicked() -> None:
    assert deepest_click(np.zeros((4, 5), np.uint8)) is None
    assert human_click(np.zeros((4, 5), np.uint8), np.random.default_rng(0)) is None


def test_people_click_a_pixel_as_often_as_it_is_deep_and_label_it_as_ritm() -> None:
    errors = np.zeros((9, 12), np.uint8)
    errors[1:8, 1:9], errors[0, 10:] = 2, 1
    rng = np.random.default_rng(0)
    counts = np.zeros(errors.shape)
    for _ in range(3000):
        x, y, label = human_click(errors, rng, jitter=0)  # type: ignore[misc]
        assert label == 1
        counts[y, x] += 1
    depths = np.sqrt(squared_depths(errors == 2))
    expected = depths[depths > 0] / depths.sum() * 3000
    assert counts[depths == 0].sum() == 0
    # The chamfer distance is within 2 % of the depth.
    assert chisquare(counts[depths > 0], expected).pvalue > 0.001


def test_the_hand_misses_by_the_noise_and_stays_in_the_image() -> None:
    errors = np.zeros((200, 200), np.uint8)
    errors[100, 100] = errors[0, 0] = 2
    clicked = np.zeros(errors.shape, bool)
    rng = np.random.default_rng(0)
    clicked[0, 0] = True
    places = np.array([human_click(errors, rng, clicked, jitter=4) for _ in range(1000)])[:, :2]
    assert np.abs(places.mean(axis=0) - 100).max() < 0.5
    assert np.abs(places.std(axis=0) - 4).max() < 0.4
    corner = np.array([human_click(errors, rng, ~clicked, jitter=4) for _ in range(300)])[:, :2]
    assert corner.min() == 0 and corner.max() < 20


def test_both_are_policies() -> None:
    mask = torch.zeros(2, 1, 12, 12, dtype=torch.bool)
    mask[0, 0, 2:9, 3:10] = True
    for policy in ("ritm", "human"):
        clicks = simulate_clicks(torch.zeros_like(mask), mask, seeds=[1, 2], policy=policy, max_clicks=3)
        assert clicks.valid.tolist() == [[True, False, False], [False] * 3]
        assert clicks.labels[0, 0] == 1
        if policy == "ritm":
            assert clicks.points[0, 0].tolist() == [6.5, 5.5]
