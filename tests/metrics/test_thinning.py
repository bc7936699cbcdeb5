"""Skeletons, pixel for pixel those of scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.morphology import skeletonize

from helpers.metric_pairs import blobs, wires
from pisam.metrics.thinning import skeleton


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
