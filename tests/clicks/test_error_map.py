from __future__ import annotations

import numpy as np
import pytest
import torch

from pisam.clicks.error_map import _encode, error_maps

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
