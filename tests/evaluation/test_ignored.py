"""Pixels that the data say nothing about: errors on them are none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers.known_answers import MASK, Paints, batch_of, rectangle
from pisam.commands.evaluate import folder_options
from pisam.core.errors import PisamError
from pisam.core.types import Batch
from pisam.evaluation.evaluate import evaluate_segmenters

TOO_LARGE = rectangle(8, 8, 60, 60)  # MASK and a border of 4 pixels at two sides


@pytest.fixture
def batch() -> Batch:
    """One sample whose pixels beside the object's lower right are ignored."""
    sample = batch_of(MASK)
    ignored = TOO_LARGE & ~MASK
    assert ignored.any()
    return replace(sample, ignored=ignored, original_ignored=[ignored[0, 0]])


def test_evaluation(batch: Batch) -> None:
    (image,) = evaluate_segmenters([Paints("a", TOO_LARGE)], [batch])
    assert image.scores.values["iou"] == image.scores.values["biou"] == 1
    assert image.scores.values["hce"] == 0
    (plain,) = evaluate_segmenters([Paints("a", TOO_LARGE)], [replace(batch, original_ignored=None)])
    assert plain.scores.values["iou"] < 1


@pytest.mark.parametrize(
    ("given", "value"), [({}, None), ({"ignore": "255"}, 255), ({"ignore": "false"}, -1)]
)
def test_a_folder_of_masks_may_say_what_it_ignores(given: dict, value: int | None) -> None:
    folders = {"predictions": "p", "masks": "m", "out": "o"}
    assert folder_options(folders | given)["ignore"] == value
    for wrong in ("0", "65536", "x", "-1", "9" * 5000):
        with pytest.raises(PisamError, match=r"ignore=.*: expected the value"):
            folder_options(folders | {"ignore": wrong})
