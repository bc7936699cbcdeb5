"""Errors of a mask: from any device, component by component."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.click_scenes import batch_of, images
from helpers.reference import click_components, click_count, click_distances
from pisam.clicks.inspection import _encode, error_maps, inspect_errors

LOGITS = torch.tensor([[[[2.0, -1.0, 0.0, 0.5]]]])
MASK = torch.tensor([[[[True, True, False, False]]]])


def test_codes_say_how_a_pixel_is_wrong():
    assert error_maps(LOGITS, MASK).tolist() == [[[0, 2, 0, 1]]]
    assert error_maps(LOGITS > 0, MASK).tolist() == [[[0, 2, 0, 1]]]


def test_region_replaces_the_comparison():
    region = torch.tensor([[[[True, False, True, False]]]])
    assert error_maps(LOGITS, MASK, region).tolist() == [[[2, 0, 1, 0]]]


def test_what_a_gpu_computes_is_what_numpy_computes():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 20, 30, generator=generator)
    logits[1, 0, 4, 5] = torch.nan
    logits[2, 0, 4, 5] = torch.inf
    mask = torch.rand(3, 1, 20, 30, generator=generator) < 0.5
    for region in (None, ~mask):
        expected = _encode(np, logits.numpy(), mask.numpy(), None if region is None else region.numpy())
        assert np.array_equal(_encode(torch, logits, mask, region).numpy(), expected)
        assert (expected[1] >= 128).all() and (expected[[0, 2]] < 3).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_is_refused_wherever_it_is(dtype):
    logits = LOGITS.repeat(3, 1, 1, 1).to(dtype)
    logits[2, 0, 0, 3] = torch.nan
    with pytest.raises(ValueError, match="got NaN in sample 2"):
        error_maps(logits, MASK.repeat(3, 1, 1, 1))


def test_empty_batch_has_no_maps():
    assert error_maps(LOGITS[:0], MASK[:0]).shape == (0, 1, 4)


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
