"""Packed masks: erosions, counts, and scikit-image's skeleton."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.morphology import skeletonize

from helpers.metric_pairs import blobs, wires
from pisam.metrics.packed import count, erode_box, pack, skeleton, unpack

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


def test_every_small_pattern() -> None:
    """All 4 x 4 masks, two pixels apart: every neighbourhood of a pixel occurs."""
    codes = np.arange(2**16).reshape(256, 256)
    tiles = np.zeros((256, 6, 256, 6), bool)
    for bit in range(16):
        tiles[:, 1 + bit // 4, :, 1 + bit % 4] = codes >> bit & 1
    mask = tiles.reshape(256 * 6, 256 * 6)
    assert np.array_equal(skeleton(mask), skeletonize(mask))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.9, 0.98])
def test_noise(share: float) -> None:
    mask = np.random.default_rng(0).random((97, 203)) < share
    assert np.array_equal(skeleton(mask), skeletonize(mask))


@pytest.mark.parametrize("seed", range(4))
def test_shapes(seed: int) -> None:
    for mask in (blobs(211, 257, 6 + 9 * seed, seed, 0)[1], wires(150, 320, seed)[1]):
        assert np.array_equal(skeleton(mask), skeletonize(mask))


@pytest.mark.parametrize("shape", [(1, 1), (1, 130), (130, 1), (3, 63), (40, 64), (40, 65), (33, 128)])
def test_full_and_empty_of_any_width(shape: tuple[int, int]) -> None:
    full = np.ones(shape, bool)
    assert np.array_equal(skeleton(full), skeletonize(full))
    assert not skeleton(~full).any()
