"""Images and masks that a session takes: arrays and pictures of any kind, by the rules of `data.reading`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from pisam.core.errors import PisamError
from pisam.core.types import BoolArray, UInt8Array
from pisam.data import transforms
from pisam.data.reading.image_files import MAX_PIXELS
from pisam.data.reading.reader import read_image, rgb_of

Picture = npt.NDArray[np.generic] | Image.Image | str | Path
EXPECTED = "expected uint8 or uint16, (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, a picture of Pillow, or a path"


def as_rgb(image: Picture) -> UInt8Array:
    """An image as uint8 (H, W, 3) RGB.

    Args:
        image: an array uint8 or uint16, grey (H, W) or (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4); a picture
            of Pillow; or the path of an image file. 16-bit grey is scaled by its full range, or taken as
            8-bit where no value exceeds 255; 16-bit colour keeps its high byte; transparency is on white.

    Raises:
        ValueError: another kind, or a file that cannot be read.
    """
    try:
        if isinstance(image, (str, Path)):
            return read_image(Path(image))
        if isinstance(image, Image.Image):
            if 0 in image.size:
                raise ValueError(f"image: {EXPECTED}, got one without pixels")
            return rgb_of(image, "image")
        return rgb_of(_picture_of(image), "image")
    except PisamError as error:
        raise ValueError(str(error)) from error


def _picture_of(image: npt.NDArray[np.generic]) -> Image.Image:
    if not isinstance(image, np.ndarray):
        raise ValueError(f"image: {EXPECTED}, got {type(image).__name__}")
    pixels = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    fits = fits and 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    if pixels.dtype not in (np.uint8, np.uint16) or not fits:
        raise ValueError(f"image: {EXPECTED}, got {image.dtype} {image.shape}")
    if pixels.dtype == np.uint16 and pixels.ndim == 3:
        pixels = np.right_shift(pixels.astype(np.uint16), 8).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels))


def as_mask(mask: Picture, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Coverage of an object, float32 (H, W) in [0, 1], at the size of the image.

    Args:
        mask: bool, or uint8 of 0/1 or 0..255, (H, W) at any size; or float in [0, 1]; or a picture of Pillow.
        size: (H, W) of the image. A mask of this size is taken pixel by pixel, another one is resized.

    Raises:
        ValueError: another kind, or values out of range.
    """
    values = np.asarray(mask.convert("L") if isinstance(mask, Image.Image) and mask.mode != "1" else mask)
    if values.ndim == 3 and 1 in values.shape[::2]:
        values = values[..., 0] if values.shape[2] == 1 else values[0]
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "bufi":
        raise ValueError(f"mask: expected (H, W) of bool, uint8 or float, got {values.dtype} {values.shape}")
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError("mask: expected values in [0, 1] or [0, 255], got some that are not")
    highest = 1 if values.dtype.kind == "b" or values.max() <= 1 else 255
    if values.max() > highest or (values.dtype.kind == "f" and highest == 255):
        raise ValueError(f"mask: expected values in [0, 1] or [0, 255] as uint8, got up to {values.max()}")
    coverage: npt.NDArray[np.float32] = values.astype(np.float32) / np.float32(highest)
    if coverage.shape == size:
        return coverage
    resized: npt.NDArray[np.float32] = cv2.resize(coverage, (size[1], size[0])).astype(np.float32)
    return resized


def box_of(mask: BoolArray) -> npt.NDArray[np.float64] | None:
    """The tight box of a mask, xyxy edges in pixels; None of an empty one."""
    return transforms.box_of(mask).astype(np.float64) if mask.any() else None
