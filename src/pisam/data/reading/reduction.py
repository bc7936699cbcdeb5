"""Masks averaged over blocks of pixels, exactly; from a grey file without an array of the whole."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from pisam.data.reading.image_files import bands

ALL = 192  # divisible by 4 three times: no mean of 8 x 8 pixels is rounded


def reduce_mask(mask: npt.NDArray[np.bool_], reduction: int) -> npt.NDArray[np.uint8]:
    """The share of object in each block of reduction x reduction pixels, exactly: uint8 (h, w) up to `ALL`.

    Sides are divided and rounded up; at the right and lower edge the last pixels fill a block up.

    Args:
        mask: bool (H, W).
        reduction: 1, 2, 4 or 8.
    """
    down, right = (-side % reduction for side in mask.shape)
    whole = np.pad(mask, ((0, down), (0, right)), mode="edge") if down or right else mask
    means: npt.NDArray[np.uint8] = whole.view(np.uint8) * np.uint8(ALL)
    while reduction > 1:  # the mean of 2 x 2 pixels is fast
        half = (means.shape[1] // 2, means.shape[0] // 2)
        means = np.asarray(cv2.resize(means, half, interpolation=cv2.INTER_AREA), np.uint8)
        reduction //= 2
    return means


def reduce_picture(image: Image.Image, threshold: int, reduction: int) -> npt.NDArray[np.uint8]:
    """Reduce, as `reduce_mask`, the pixels of a grey picture above a threshold, some rows at a time."""
    return np.concatenate([reduce_mask(np.asarray(band) > threshold, reduction) for _, band in bands(image)])
