"""The errors of a mask, and what the click functions refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.click_scenes import batch_of, images
from helpers.reference import click_components, click_count, click_distances
from pisam.clicks.inspection import _encode, error_maps, inspect_errors
from pisam.clicks.simulate import simulate_clicks

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


FLAT = torch.zeros(2, 1, 8, 9)
BARE = torch.zeros(2, 1, 8, 9, dtype=torch.bool)
NAN = FLAT.index_put(
    (torch.tensor(1), torch.tensor(0), torch.tensor(3), torch.tensor(4)), torch.tensor(torch.nan)
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prediction": FLAT[:, 0]}, r"prediction: expected shape \(B, 1, H, W\), got \(2, 8, 9\)"),
        (
            {"prediction": FLAT[..., :0]},
            r"prediction: expected shape \(B, 1, H, W\), got \(2, 1, 8, 0\)",
        ),
        ({"prediction": FLAT.int()}, "prediction: expected float logits or bool, got torch.int32"),
        ({"prediction": FLAT.numpy()}, r"prediction: expected a tensor \(B, 1, H, W\), got ndarray"),
        ({"prediction": NAN}, "prediction: expected logits, got NaN in sample 1"),
        (
            {"mask": BARE.expand(-1, 3, -1, -1)},
            r"mask: expected shape \(B, 1, H, W\), got \(2, 3, 8, 9\)",
        ),
        (
            {"mask": BARE[:1]},
            r"mask: expected the prediction's shape \(2, 1, 8, 9\), got \(1, 1, 8, 9\)",
        ),
        ({"mask": FLAT}, "mask: expected bool, got torch.float32"),
        ({"mask": BARE.to("meta")}, "mask: expected the prediction's device cpu, got meta"),
        ({"region": BARE[..., 1:]}, r"region: expected the prediction's shape .*, got \(2, 1, 8, 8\)"),
        ({"region": BARE.byte()}, "region: expected bool, got torch.uint8"),
        ({"seeds": [1]}, "seeds: expected one integer per sample, 2 in all, got 1"),
        ({"seeds": 7}, "seeds: expected one integer per sample, 2 in all, got the single value 7"),
        ({"seeds": [1, -1]}, "seeds: expected integers >= 0, got -1"),
        ({"seeds": [1, 0.5]}, "seeds: expected integers >= 0, got 0.5"),
        ({"policy": "papre"}, "policy: expected one of paper, released, .*, got 'papre'"),
        ({"max_clicks": 0}, "max_clicks: expected a whole number from 1 up, got 0"),
        ({"seeds": None}, "seeds: expected one integer per sample, 2 in all, got the single value None"),
        ({"max_clicks": True}, "max_clicks: expected a whole number from 1 up, got True"),
        ({"connectivity": 8.0}, "connectivity: expected 4 or 8, got 8.0"),
        ({"max_clicks": 2.5}, "max_clicks: expected a whole number from 1 up, got 2.5"),
        ({"min_area": 0}, "min_area: expected a whole number from 1 up, got 0"),
        ({"margin": 1.0}, "margin: expected a share of the depth, 0 <= margin < 1, got 1.0"),
        ({"margin": 1 - 1e-9}, "margin: expected a share of the depth"),
        ({"margin": -0.1}, "margin: expected a share of the depth"),
        ({"connectivity": 6}, "connectivity: expected 4 or 8, got 6"),
        (
            {"policy": "noisy", "noise": 1.5},
            "noise: expected a share of the clicks, 0 <= noise <= 1, got 1.5",
        ),
        ({"noise": 0.1}, "noise: expected 0 unless policy is 'noisy', got 0.1 for 'paper'"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {"prediction": FLAT, "mask": BARE, "seeds": [0, 1]} | changes
    with pytest.raises(ValueError, match=message):
        simulate_clicks(arguments.pop("prediction"), arguments.pop("mask"), **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": BARE[:1]}, "mask: expected the prediction's shape"),
        ({"prediction": NAN}, "prediction: expected logits, got NaN in sample 1"),
        ({"min_area": 0}, "min_area: expected a whole number from 1 up, got 0"),
        ({"connectivity": 6}, "connectivity: expected 4 or 8, got 6"),
    ],
)
def test_bad_input_to_the_inspection_is_named(changes, message):
    arguments = {"prediction": FLAT, "mask": BARE} | changes
    with pytest.raises(ValueError, match=message):
        inspect_errors(arguments.pop("prediction"), arguments.pop("mask"), **arguments)


def test_tensor_of_seeds_is_named():
    with pytest.raises(ValueError, match="seeds: expected integers >= 0"):
        simulate_clicks(FLAT, BARE, seeds=torch.tensor([0.0, 1.0]))
