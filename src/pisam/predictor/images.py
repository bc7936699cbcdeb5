"""Images and masks that a session takes: arrays and pictures of any kind, by the rules of `data.reading`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from pisam.core.errors import PisamError
from pisam.core.types import BoolArray, UInt8Array
from pisam.data import transforms
from pisam.data.reading.channels import picture_coverage
from pisam.data.reading.image_files import MAX_PIXELS, picture_of, picture_of_array
from pisam.data.reading.reader import binarise, read_coverage, read_image, rgb_of
from pisam.data.reading.values import to_coverage

Picture = npt.NDArray[np.generic] | Image.Image | str | Path
EXPECTED = "expected uint8 or uint16, (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, a picture of Pillow, or a path"


def as_rgb(image: Picture) -> UInt8Array:
    """An image as uint8 (H, W, 3) RGB.

    Args:
        image: an array uint8 or uint16, grey (H, W) or (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4); a picture
            of Pillow; or the path of an image file. 16 bits are scaled by their full range, or taken as 8-bit
            where no value exceeds 255; transparency is on white. A picture that Pillow has opened is read as
            its file is, EXIF orientation and all; see `image_files.picture_of`.

    Raises:
        ValueError: another kind, or a file that cannot be read.
    """
    try:
        if isinstance(image, (str, Path)):
            return read_image(Path(image))
        if isinstance(image, Image.Image):
            return rgb_of(picture_of(_some(image, f"image: {EXPECTED}"), Path("image")))
        return rgb_of(picture_of_array(_pixels_of(image)))
    except PisamError as error:
        raise ValueError(str(error)) from error


def _some(image: Image.Image, expected: str) -> Image.Image:
    if 0 in image.size:
        raise ValueError(f"{expected}, got one without pixels")
    return image


def _pixels_of(image: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
    if not isinstance(image, np.ndarray):
        raise ValueError(f"image: {EXPECTED}, got {type(image).__name__}")
    pixels = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    fits = fits and 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    if pixels.dtype not in (np.uint8, np.uint16) or not fits:
        raise ValueError(f"image: {EXPECTED}, got {image.dtype} {image.shape}")
    return pixels


def as_mask(mask: Picture, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Coverage of an object, float32 (H, W) in [0, 1], at the size of the image.

    Args:
        mask: (H, W) at any size: bool; whole numbers, which mean what they would in a file (0/1, 0/255, or
            soft up to 255, see `pisam.data.reading.values`); or float in [0, 1]. A picture of Pillow, or the
            path of a file, by the same rules.
        size: (H, W) of the image. A mask of this size is taken pixel by pixel, another one is resized.

    Raises:
        ValueError: another kind, values out of range, or such as may mean two things.
    """
    coverage = _coverage(mask)
    if coverage.shape == size:
        return coverage
    resized: npt.NDArray[np.float32] = cv2.resize(coverage, (size[1], size[0])).astype(np.float32)
    return resized


def _coverage(mask: Picture) -> npt.NDArray[np.float32]:
    path = Path(mask) if isinstance(mask, (str, Path)) else Path("mask")
    try:
        if isinstance(mask, (str, Path)):
            levels = read_coverage(path).values
        elif isinstance(mask, Image.Image):
            some = _some(mask, "mask: expected a picture of Pillow")
            levels = picture_coverage(picture_of(some, path), path).values
        else:
            values = _values_of(mask)
            if values.dtype.kind == "f":
                return np.asarray(values, np.float32)
            levels = to_coverage(values, path).values
        binarise(levels, path, or_nothing=True)
    except PisamError as error:
        raise ValueError(str(error)) from error
    return levels.astype(np.float32) / np.float32(255)


def _values_of(mask: object) -> npt.NDArray[Any]:
    """Values (H, W): uint8 or uint16, or float in [0, 1].

    Raises:
        ValueError: others.
    """
    try:
        values = np.asarray(mask)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors of kinds that NumPy lacks
        raise ValueError(f"mask: expected an array (H, W), got {type(mask).__name__}: {error}") from error
    if values.ndim == 3 and 1 in values.shape[::2]:
        values = values[..., 0] if values.shape[2] == 1 else values[0]
    if values.ndim != 2 or not 0 < values.size <= MAX_PIXELS or values.dtype.kind not in "bufi":
        raise ValueError(
            f"mask: expected (H, W) of bool, uint8 or float, at most {MAX_PIXELS // 10**6} megapixels, got "
            f"{values.dtype} {values.shape}"
        )
    lowest, highest = values.min(), values.max()
    most = 1 if values.dtype.kind == "f" else 65535 if values.dtype == np.uint16 else 255
    if not (lowest >= 0 and highest <= most):
        raise ValueError(
            f"mask: expected values of 0 to 1, or whole ones to 255, got {values.dtype} of {lowest} to "
            f"{highest}"
        )
    return values if values.dtype.kind == "f" else values.astype(np.uint8 if highest <= 255 else np.uint16)


def box_of(mask: BoolArray) -> npt.NDArray[np.float64] | None:
    """The tight box of a mask, xyxy edges in pixels; None of an empty one."""
    return transforms.box_of(mask).astype(np.float64) if mask.any() else None
