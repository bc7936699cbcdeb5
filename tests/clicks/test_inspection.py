from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.click_scenes import batch_of, images
from helpers.reference import click_components, click_count, click_distances
from pisam.clicks.inspection import inspect_errors


@given(images(), st.sampled_from([4, 8]), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_components_are_those_of_the_reference(image, connectivity, min_area):
    wrong, mask = image
    (found,) = inspect_errors(*batch_of(wrong, mask), connectivity=connectivity, min_area=min_area)
    expected = []
    for component in click_components(wrong, mask, connectivity):
        xs, ys = zip(*component["pixels"], strict=True)
        area = len(xs)
        box = (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
        depth = max(click_distances(component["pixels"]).values())
        expected.append((component["label"], area, box, click_count(area, min_area), depth))
    plain = [(c.label, c.area, c.box, c.clicks, c.depth) for c in found]
    assert [row[:4] for row in sorted(plain)] == [row[:4] for row in sorted(expected)]
    depths = [[row[4] for row in sorted(rows)] for rows in (plain, expected)]
    assert np.allclose(*depths, rtol=0.02)


def test_largest_component_comes_first_and_samples_stay_apart():
    mask = torch.zeros(2, 1, 10, 20, dtype=torch.bool)
    mask[0, 0, 0:2, 0:2] = mask[0, 0, 4:9, 4:9] = mask[1, 0, 3, 3] = True
    first, second = inspect_errors(torch.zeros_like(mask), mask)
    assert [(c.area, c.depth, c.box, c.clicks) for c in first] == [
        (25, 3.0, (4, 4, 9, 9), 1),
        (4, 1.0, (0, 0, 2, 2), 0),
    ]
    assert [(c.label, c.area) for c in second] == [(1, 1)]


def test_region_is_inspected_in_place_of_the_error():
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    region = torch.zeros_like(mask)
    region[..., 1:4, 2:5] = True
    ((component,),) = inspect_errors(mask, mask, region=region)
    assert (component.label, component.box) == (1, (2, 1, 5, 4))


def test_no_error_has_no_components():
    mask = torch.ones(3, 1, 6, 6, dtype=torch.bool)
    assert inspect_errors(mask, mask) == [[], [], []]
