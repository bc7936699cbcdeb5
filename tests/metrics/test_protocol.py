"""Logits come to the original size and to levels as the protocol says."""

from __future__ import annotations

import dataclasses
import json

import lightning
import numpy as np
import pytest
import torch

from pisam.metrics.functional import binarise
from pisam.metrics.protocol import (
    OBJECT_ABOVE,
    Protocol,
    logits_to_levels,
    logits_to_original,
    probabilities_to_levels,
)


def test_a_plane_keeps_its_pixel_centres() -> None:
    # Logits that grow along x only: at pixel centre x + 0.5 of W the value is that of (x + 0.5) S / W.
    side, height, width = 8, 12, 20
    logits = (torch.arange(side) + 0.5).expand(1, 1, side, side)
    result = logits_to_original(logits, (height, width))
    assert result.shape == (1, 1, height, width)
    expected = ((torch.arange(width) + 0.5) * side / width).clamp(0.5, side - 0.5)
    assert torch.allclose(result[0, 0], expected.expand(height, width), atol=1e-5)


def test_the_same_size_changes_nothing_and_half_precision_ends_as_float32() -> None:
    logits = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(logits_to_original(logits, (6, 6)), logits)
    half = logits_to_original(logits.bfloat16(), (9, 5))
    assert half.dtype == torch.float32
    assert torch.equal(half, logits_to_original(logits.bfloat16().float(), (9, 5)))


def test_protocol_names_every_choice_in_plain_values() -> None:
    stored = Protocol(image_size=512, checkpoint_hash="abc").as_dict()
    assert json.loads(json.dumps(stored)) == stored
    assert stored["image_size"] == 512 and stored["checkpoint_hash"] == "abc"
    assert stored["resize"] == "squash" and stored["prompt"] == "box of the mask"
    assert stored["threshold"] == 0.0 and stored["boundary_dilation_ratio"] == 0.02
    assert stored["torch"] == torch.__version__.split("+")[0] or stored["torch"] == torch.__version__
    assert stored["lightning"] == lightning.__version__
    assert stored["pisam"]


def test_protocols_compare_by_value_and_do_not_change() -> None:
    protocol = Protocol(image_size=512)
    assert protocol == Protocol(image_size=512) != Protocol(image_size=1024)
    with pytest.raises(dataclasses.FrozenInstanceError):
        protocol.image_size = 3  # type: ignore[misc]


def test_levels_are_the_rounded_probability() -> None:
    logits = torch.linspace(-9, 9, 1203).reshape(1, 1, 3, 401)
    levels = logits_to_levels(logits)
    assert levels.shape == (3, 401) and levels.dtype == np.uint8
    assert np.abs(levels - 255 * logits.sigmoid().numpy()[0, 0]).max() <= 0.51
    assert levels.min() == 0 and levels.max() == 255


def test_levels_are_object_exactly_where_logits_are() -> None:
    near_zero = torch.tensor([[0.0, -0.0, 1e-30, -1e-30, 1e-8, -1e-8, 1e-3, -1e-3, torch.inf, -torch.inf]])
    assert np.array_equal(logits_to_levels(near_zero) > OBJECT_ABOVE, binarise(near_zero).numpy())


def test_probabilities_round_and_a_half_is_no_object() -> None:
    values = np.array([[0, 0.5, 0.5001, 0.499, 1, 77 / 255, 77.4 / 255, 77.6 / 255]], np.float32)
    assert probabilities_to_levels(values).tolist() == [[0, 127, 128, 127, 255, 77, 77, 78]]
    every = np.arange(256, dtype=np.uint8)[None]
    assert np.array_equal(probabilities_to_levels(every / 255), every)


@pytest.mark.parametrize(
    ("bad", "message"), [(torch.zeros(2, 1, 4, 4), "one image"), (torch.full((3, 3), torch.nan), "NaN")]
)
def test_what_is_no_image_of_logits_is_refused(bad: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        logits_to_levels(bad)
