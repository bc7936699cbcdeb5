"""Components of an error, and their repair where they were clicked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.click_scenes import images
from helpers.reference import click_distances
from pisam.clicks.components import (
    clicked_errors,
    component_depths,
    component_mask,
    depth_map,
    find_components,
    locally_repaired,
)


@given(images(), st.sampled_from([4, 8]))
@settings(max_examples=100, deadline=None)
def test_depth_within_the_image_is_depth_of_the_component_alone(image, connectivity):
    wrong, mask = image
    components = find_components(wrong.astype(np.uint8) << mask, connectivity)
    alone = [depth_map(component_mask(components, row)).max() for row in range(len(components))]
    assert component_depths(components).tolist() == alone


@pytest.mark.parametrize(("exact", "tolerance"), [(False, 0.02), (True, 1e-6)])
def test_depth_is_the_distance_to_the_outside(exact, tolerance):
    y, x = np.mgrid[:23, :31]
    inside = (x - 14) ** 2 + 2 * (y - 9) ** 2 < 150
    depth = depth_map(inside, exact)
    distances = click_distances({(int(i), int(j)) for j, i in np.argwhere(inside)})
    assert not depth[~inside].any()
    assert all(abs(depth[j, i] / distance - 1) <= tolerance for (i, j), distance in distances.items())


def test_exact_depths_are_roots_of_whole_numbers_to_the_last_bit():
    """OpenCV's own differ in it with the place in memory, and ties between pixels with them."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        inside = np.kron(rng.random(rng.integers(4, 16, 2)) < 0.8, np.ones((6, 6))) > 0
        depth = depth_map(inside, exact=True)
        squared = np.rint(depth.astype(np.float64) ** 2)
        assert (depth == np.sqrt(squared).astype(np.float32)).all()


def flooded(wrong: np.ndarray, mask: np.ndarray, start: tuple[int, int], steps: list) -> set[tuple[int, int]]:
    """Slow truth: the pixels of the same error that are reached from a pixel."""
    if not wrong[start]:
        return set()
    seen, edge = {start}, [start]
    while edge:
        row, column = edge.pop()
        for down, across in steps:
            near = row + down, column + across
            inside = 0 <= near[0] < wrong.shape[0] and 0 <= near[1] < wrong.shape[1]
            if inside and near not in seen and wrong[near] and mask[near] == mask[start]:
                seen.add(near)
                edge.append(near)
    return seen


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 8), st.integers(0, 1)), max_size=4),
    st.sampled_from([4, 8]),
)
def test_against_a_flood_from_each_click(seed: int, pixels: list, connectivity: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, mask = rng.random((9, 12)) < 0.5, rng.random((9, 12)) < 0.5
    wrong = prediction != mask
    steps = [
        (y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y or x) and (connectivity == 8 or 0 in (y, x))
    ]
    clicks = [(x + 0.5, y + 0.5, label) for x, y, label in pixels]
    last = {(y, x): label for x, y, label in pixels}
    expected = {
        pixel
        for start, label in last.items()
        if mask[start] == label
        for pixel in flooded(wrong, mask, start, steps)
    }
    region = clicked_errors(prediction, mask, clicks, connectivity)
    assert {(int(y), int(x)) for y, x in np.argwhere(region)} == expected
    repaired = locally_repaired(prediction, mask, clicks, connectivity)
    assert (repaired[region] == mask[region]).all()
    assert (repaired[~region] == prediction[~region]).all()


def test_no_click_repairs_nothing() -> None:
    prediction, mask = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    assert not clicked_errors(prediction, mask, []).any()
    assert not clicked_errors(prediction, mask, [(1.5, 1.5, 0)]).any()  # not the label that repairs it
    assert clicked_errors(prediction, mask, [(5.0, 4.0, 1)]).all()
