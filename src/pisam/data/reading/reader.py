"""One reader for images and masks, with a declared rule for every kind of file; nothing is guessed silently.

What a file must be to be opened at all stands in `pisam.data.reading.image_files`.

Images, to uint8 RGB: EXIF orientation is applied; grey, palette, CMYK and LAB are converted; 16-bit grey is
scaled by its full range, or taken as 8-bit where no value exceeds 255; 16-bit colour keeps its high byte;
transparent pixels are seen on white.

Masks, to bool, object where the coverage exceeds 127 of 255; EXIF orientation is applied, and coverage is
- 0/1 files (no value above 1): 255 where the value is 1;
- grey and colour files: the largest channel, so soft edges are cut in half;
- palette files with colours: 255 where the index is not 0; with greys: as grey files. Black at another index
  than 0 beside a coloured index 0 may mean either, and is refused;
- 16-bit files: scaled by the full range, or as 8-bit where no value exceeds 255;
- files with varying alpha: the alpha channel, for they are cut-outs; but where what is visible is itself
  black and white, that, seen on black. With constant alpha: the colour.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from pisam.core.errors import PisamError
from pisam.core.types import BoolArray, IntArray, UInt8Array
from pisam.data.reading.image_files import (
    COLOUR_MODES,
    SIXTEEN_BIT_MODES,
    as_array,
    bands,
    load_reduced,
    load_upright,
)
from pisam.data.reading.reduction import reduce_mask, reduce_picture

# Closer to black or white than this is no grey.
_NEARLY = 16

# The 8-bit value of each 16-bit one.
_OF_SIXTEEN_BITS = ((np.arange(65536, dtype=np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


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
    image, (width, height) = load_reduced(path, reduction)
    image = _as_rgb(image, path)
    if reduction > 1 and image.size == (width, height):
        image = image.reduce(reduction)
    return as_array(image), (height, width)


def rgb_of(image: Image.Image, name: str) -> UInt8Array:
    """A picture that was opened elsewhere, as `read_image` gives that of a file; `name` begins errors.

    Raises:
        PisamError: pixels of another kind than 8 or 16 bits.
    """
    if image.mode not in (*COLOUR_MODES, *SIXTEEN_BIT_MODES):
        raise PisamError(f"{name}: pixels of kind {image.mode}; expected 8 or 16 bits a channel; convert it")
    return as_array(_as_rgb(image, Path(name)))


def read_mask(path: Path) -> BoolArray:
    """The mask as bool (H, W), True = object, by the rules at the top of this file.

    Raises:
        PisamError: as `read_image`, or no object pixel at all.
    """
    return binarise(read_coverage(path), path)


def binarise(coverage: UInt8Array, path: Path) -> BoolArray:
    """Object where the coverage (H, W) that was read from `path` exceeds 127.

    Raises:
        PisamError: that is nowhere.
    """
    mask: BoolArray = coverage > 127
    if not mask.any():
        highest = coverage.max()
        ids = ", or set ids: true in its row if the values number objects" if highest else ""
        raise PisamError(
            f"{path}: the mask is empty, its values reach {highest} of 255; expected 0/1 or 0/255 with some "
            f"object; mend it, take the pair out{ids}"
        )
    return mask


def open_mask(path: Path) -> tuple[tuple[int, int], Callable[[int], UInt8Array]]:
    """A mask of which only averages over blocks are wanted, by the same rules as `read_mask`.

    Returns:
        (H, W), and a function that gives `reduce_mask` of the mask for 1, 2, 4 or 8.

    Raises:
        PisamError: as `read_mask`.
    """
    image = load_upright(path)
    if image.mode not in ("1", "L"):
        mask = binarise(_coverage(image, path), path)
        height, width = mask.shape
        return (height, width), partial(reduce_mask, mask)
    grey = image if image.mode == "L" else image.convert("L")
    highest = int(np.max(grey.getextrema()))
    threshold = 127 if highest > 1 else 0
    if highest <= threshold:
        binarise(as_array(grey), path)
    return (grey.height, grey.width), partial(reduce_picture, grey, threshold)


def read_coverage(path: Path) -> UInt8Array:
    """How much of each pixel of a mask is object: uint8 (H, W), 255 = all, by the rules above.

    Raises:
        PisamError: as `read_image`; an empty mask is none.
    """
    return _coverage(load_upright(path), path)


def read_pair(image_path: Path, mask_path: Path) -> tuple[UInt8Array, BoolArray]:
    """An image (H, W, 3) and its mask (H, W).

    Raises:
        PisamError: as `read_image` and `read_mask`, or their upright sizes differ.
    """
    image, mask = read_image(image_path), read_mask(mask_path)
    check_sizes(image_path, image.shape, mask_path, mask.shape)
    return image, mask


def check_sizes(
    image_path: Path, image_shape: tuple[int, ...], mask_path: Path, mask_shape: tuple[int, ...]
) -> None:
    """Compare the upright shapes (H, W, ...) of an image and its mask.

    Raises:
        PisamError: they differ.
    """
    if image_shape[:2] != mask_shape[:2]:
        raise PisamError(
            f"{mask_path}: the mask is {mask_shape[1]}x{mask_shape[0]} but its image {image_path} is "
            f"{image_shape[1]}x{image_shape[0]} (after EXIF rotation); expected the same size; replace one"
        )


def _coverage(image: Image.Image, path: Path) -> UInt8Array:
    if image.mode in SIXTEEN_BIT_MODES:
        return _stretch(_eight_bit(_sixteen_bit(image, path)))
    if image.mode in ("P", "PA") and _is_coloured(image):
        return _from_palette(image, path)
    if _has_alpha(image):
        return _from_alpha(as_array(image if image.mode == "RGBA" else image.convert("RGBA")))
    if image.mode in ("1", "L"):
        return _stretch(as_array(image if image.mode == "L" else image.convert("L")))
    return _stretch(_largest_channel(image))


def _largest_channel(image: Image.Image) -> UInt8Array:
    largest = np.empty((image.height, image.width), np.uint8)
    for top, band in bands(image):
        red, green, blue = band.convert("RGB").split()
        brightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
        largest[top : top + band.height] = np.asarray(brightest)
    return largest


def _is_coloured(image: Image.Image) -> bool:
    used = _used_colours(image)
    return bool((used[:, 1:] != used[:, 1:2]).any())


def _used_colours(image: Image.Image) -> npt.NDArray[np.integer]:
    """(N, 4): index, red, green and blue of each palette entry that some pixel has."""
    palette = np.array(image.getpalette("RGB"), dtype=np.int64).reshape(-1, 3)
    indices = np.flatnonzero(image.getchannel(0).histogram())
    return np.column_stack([indices, palette[indices.clip(max=len(palette) - 1)]])


def _from_palette(image: Image.Image, path: Path) -> UInt8Array:
    used = _used_colours(image)
    black = {int(index) for index, *colour in used if not any(colour)}
    if 0 in used[:, 0] and black and 0 not in black:
        raise PisamError(
            f"{path}: palette with a coloured index 0 and black at index {min(black)}, so the background is "
            "unclear; expected black at index 0; save the mask as 0/255"
        )
    indices = as_array(image.getchannel(0))
    if _has_alpha(image):
        indices = np.where(np.array(image.convert("RGBA"))[..., 3] > 127, indices, 0)
    return np.where(indices > 0, 255, 0).astype(np.uint8)


def _from_alpha(rgba: UInt8Array) -> UInt8Array:
    colour, alpha = rgba[..., :3], _stretch(rgba[..., 3])
    visible = alpha > 127
    largest = colour.max(axis=2)
    seen_on_black = _stretch(np.where(visible, largest, 0).astype(np.uint8))
    if alpha.min() == alpha.max():
        return seen_on_black
    shown = _stretch(largest)[visible]
    drawn = (largest <= _NEARLY) | (colour.min(axis=2) >= 255 - _NEARLY) | (largest <= 1)
    two_shades = shown.size > 0 and shown.min() <= 127 < shown.max()
    return seen_on_black if two_shades and drawn[visible].mean() >= 0.9 else alpha


def _stretch(values: UInt8Array) -> UInt8Array:
    """0/1 as 0/255."""
    return values if values.max() > 1 else values * np.uint8(255)


def _eight_bit(values: IntArray) -> UInt8Array:
    if values.max() <= 255:
        return values.astype(np.uint8)
    return _OF_SIXTEEN_BITS[values]


def _sixteen_bit(image: Image.Image, path: Path) -> IntArray:
    values = np.array(image)
    if values.min() < 0 or values.max() > 65535:
        raise PisamError(
            f"{path}: values from {values.min()} to {values.max()}; expected at most 16 bits; convert it"
        )
    return values


def _as_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode in SIXTEEN_BIT_MODES:
        image = Image.fromarray(_eight_bit(_sixteen_bit(image, path)))
    if _has_alpha(image):
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image.convert("RGBA"))
    if image.mode != "RGB":
        image = image.convert("RGB")
    return image


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
