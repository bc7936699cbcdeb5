"""A known mask scores as the plain one does, and is looked at once for all predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.metric_pairs import PAIRS, field
from pisam import metrics
from pisam.metrics.functional import boundary_band
from pisam.metrics.known_mask import KnownMask
from pisam.metrics.packed import skeleton, unpack


@pytest.mark.parametrize("name", PAIRS)
def test_scores_are_those_of_the_plain_mask(name: str) -> None:
    prediction, mask = PAIRS[name]
    known = KnownMask(mask)
    for predicted in (prediction, 255 - prediction):
        assert metrics.all_scores(predicted, known) == metrics.all_scores(predicted, mask)


def test_band_is_that_of_the_training_callbacks() -> None:
    mask = field(90, 131, 5, 0) > 0
    band = unpack(KnownMask(mask).band, mask.shape[1])
    assert np.array_equal(band, boundary_band(torch.from_numpy(mask)).numpy())


def test_its_skeleton_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, mask = PAIRS["soft-0"]
    known = KnownMask(mask)
    first = metrics.all_scores(prediction, known, ["hce"])
    assert np.array_equal(known.skeleton, skeleton(mask))
    monkeypatch.setattr("pisam.metrics.known_mask.skeleton", None)
    assert metrics.all_scores(prediction, known, ["hce"]) == first


def test_a_known_mask_of_another_size_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"of one size, got prediction uint8 \(4, 5\) and mask bool \(4, 4\)"
    ):
        metrics.all_scores(np.zeros((4, 5), np.uint8), KnownMask(np.zeros((4, 4), bool)))
