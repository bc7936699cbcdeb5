"""The way back to original size, and what is stored with a number."""

from __future__ import annotations

import dataclasses
import json

import lightning
import pytest
import torch

from pisam.metrics.protocol import Protocol, logits_to_original


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
