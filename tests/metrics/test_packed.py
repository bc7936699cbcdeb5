"""Packed masks do what plain ones do, at every position of a word."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pisam.metrics.packed import count, erode_box, pack, unpack

WIDTHS = [1, 7, 8, 63, 64, 65, 127, 200]


def masks(width: int) -> list[np.ndarray]:
    random = np.random.default_rng(width)
    sparse = random.random((150, width)) < 0.999
    return [
        sparse,
        random.random((150, width)) < 0.5,
        np.ones((150, width), bool),
        np.zeros((150, width), bool),
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_masks_come_back_and_are_counted(width: int) -> None:
    for mask in masks(width):
        words = pack(mask)
        assert words.dtype == np.uint64 and words.shape == (150, -(-width // 64))
        assert np.array_equal(unpack(words, width), mask)
        assert count(words) == mask.sum()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("distance", [1, 2, 5, 31, 32, 33, 64, 70, 100])
def test_erosion_is_opencvs_with_nothing_outside(width: int, distance: int) -> None:
    kernel = np.ones((2 * distance + 1,) * 2, np.uint8)
    for mask in masks(width):
        expected = cv2.erode(mask.view(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        assert np.array_equal(unpack(erode_box(pack(mask), distance), width), expected.view(bool))
