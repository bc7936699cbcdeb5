"""Logits and probabilities as 8-bit levels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pisam.metrics.functional import binarise
from pisam.metrics.levels import OBJECT_ABOVE, logits_to_levels, probabilities_to_levels


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
