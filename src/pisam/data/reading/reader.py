"""Read images and masks: one decoder and one set of rules for all that asks for either.

What a file must be to be opened at all stands in `image_files`, what the values of a mask mean in `values`;
docs/data.md has both as tables. Images become uint8 RGB, upright; grey, palette, CMYK and LAB are converted,
16 bits scaled by their range (or kept where none exceeds 255), transparent pixels seen on white. Masks become
bool, object where the coverage exceeds 127 of 255.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from pisam.core.errors import PisamError
from pisam.core.types import BoolArray, UInt8Array
from pisam.data.reading.channels import grey_coverage, image_rgb, is_plain_grey, picture_coverage
from pisam.data.reading.image_files import Picture, as_array, bands, load_picture
from pisam.data.reading.values import OBJECT_ABOVE, Coverage, object_above

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


Reduce = Callable[[int], UInt8Array]


def read_image(path: Path) -> UInt8Array:
    """The image as uint8 (H, W, 3) RGB, upright.

    Raises:
        PisamError: missing, unreadable, truncated, or too large to be an image; names the file.
    """
    return read_reduced(path, 1)[0]


def read_reduced(path: Path, reduction: int) -> tuple[UInt8Array, tuple[int, int]]:
    """The image at a fraction of its size: the mean of blocks of reduction x reduction pixels.

    A JPEG's decoder is asked for the mean, which costs less than the whole image; its rounding differs.
    Blocks start at the upper left corner; at the right and lower edge the mean is that of what is there.

    Args:
        path: the file.
        reduction: 1 for the image itself, 2, 4 or 8.

    Returns:
        uint8 (h, w, 3) RGB with h = H / reduction rounded up, w alike; and the whole (H, W), upright.

    Raises:
        PisamError: as `read_image`.
    """
    picture = load_picture(path, reduction)
    image, (width, height) = image_rgb(picture), picture.size
    if reduction > 1 and image.size == (width, height):
        image = image.reduce(reduction)
    return as_array(image), (height, width)


def rgb_of(picture: Picture) -> UInt8Array:
    """A picture that is no file, as `read_image` gives that of a file."""
    return as_array(image_rgb(picture))


def read_mask(path: Path, ignore: int | None = None) -> BoolArray:
    """The mask as bool (H, W), True = object.

    Args:
        path: the file.
        ignore: the value of pixels that are neither object nor background; see `values`.

    Raises:
        PisamError: as `read_image`, no object pixel at all, or values that may mean two things.
    """
    return binarise(read_coverage(path, ignore).values, path)


def read_given(path: Path) -> BoolArray:
    """A mask to be repaired, bool (H, W): as `read_mask`, but there may be nothing in it.

    Raises:
        PisamError: as `read_mask`, but for values of 0 alone.
    """
    return binarise(read_coverage(path).values, path, or_nothing=True)


def read_coverage(path: Path, ignore: int | None = None) -> Coverage:
    """The share of object in each pixel of a mask, which may be empty, and what is ignored."""
    return picture_coverage(load_picture(path), path, ignore)


def open_mask(path: Path) -> tuple[tuple[int, int], Reduce]:
    """A mask of which only averages over blocks are wanted, by the same rules as `read_mask`.

    Returns:
        (H, W), and a function that gives `reduce_mask` of the mask for 1, 2, 4 or 8.

    Raises:
        PisamError: as `read_mask`.
    """
    picture = load_picture(path)
    if not is_plain_grey(picture):
        mask = binarise(picture_coverage(picture, path).values, path)
        return (mask.shape[0], mask.shape[1]), partial(reduce_mask, mask)
    # Without an array of the whole, which takes most of the time of a large mask.
    present = np.flatnonzero(picture.image.histogram())
    threshold = object_above(present, path, step=picture.step)
    if present[-1] <= threshold:
        binarise(grey_coverage(picture, path).values, path)
    return picture.size[::-1], partial(reduce_picture, picture.image, threshold)


def binarise(coverage: UInt8Array, path: Path, *, or_nothing: bool = False) -> BoolArray:
    """Object where the coverage (H, W) that was read from `path` exceeds 127.

    Args:
        coverage: how much of a pixel is object, 255 = all.
        path: of the file, for errors.
        or_nothing: take values of 0 alone for what they say.

    Raises:
        PisamError: that is nowhere.
    """
    mask: BoolArray = coverage > OBJECT_ABOVE
    highest = coverage.max()
    if or_nothing and not mask.any() and highest:
        raise PisamError(
            f"{path}: values reach {highest} of 255, so nothing would be object; expected 0/1, 0/255, or 0 "
            "alone; save the one object so"
        )
    if not mask.any() and not or_nothing:
        ids = ", or, in a row of data, set ids: true if the values number objects" if highest else ""
        raise PisamError(
            f"{path}: the mask is empty, its values reach {highest} of 255; expected 0/1 or 0/255 with some "
            f"object; mend it, take the pair out{ids}"
        )
    return mask


def check_sizes(
    image_path: Path, image_shape: tuple[int, ...], mask_path: Path, mask_shape: tuple[int, ...]
) -> None:
    """Raise PisamError where the upright shapes (H, W, ...) of an image and its mask differ."""
    if image_shape[:2] != mask_shape[:2]:
        raise PisamError(
            f"{mask_path}: the mask is {mask_shape[1]}x{mask_shape[0]} but its image {image_path} is "
            f"{image_shape[1]}x{image_shape[0]} (after EXIF rotation); expected the same size; replace one"
        )
