from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.click_scenes import images
from helpers.reference import click_distances
from pisam.clicks.components import component_depths, component_mask, depth_map, find_components


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
