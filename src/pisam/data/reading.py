"""One reader for images and masks, with a declared rule for every kind of file; nothing is guessed silently.

Images, to uint8 RGB: EXIF orientation is applied; grey, palette and CMYK are converted; 16-bit grey is scaled
by its full range; transparent pixels are seen on white.

Masks, to bool: EXIF orientation is applied; then
- 0/1 files (no value above 1): 1 is object;
- grey and colour files: object where the largest channel exceeds 127 of 255, so soft edges are cut in half;
- palette files with colours: index 0 is background, every other index object; with greys: as grey files;
- 16-bit files: above half of the range, or as 8-bit where no value exceeds 255;
- files with alpha: the colour seen on black, or the alpha channel itself where the colour is constant.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from pisam.errors import PisamError

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]

# Larger than any camera of today; a file that claims more is damaged or hostile.
MAX_PIXELS = 160_000_000

_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_image(path: Path) -> UInt8Array:
    """The image as uint8 (H, W, 3) RGB, upright.

    Raises:
        PisamError: missing, unreadable, truncated, or too large to be an image; names the file.
    """
    image = _load(path)
    if image.mode in _SIXTEEN_BIT_MODES:
        grey = (_sixteen_bit(image, path).astype(np.uint32) * 255 + 32767) // 65535
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if _has_alpha(image):
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def read_mask(path: Path) -> BoolArray:
    """The mask as bool (H, W), True = object, by the rules at the top of this file.

    Raises:
        PisamError: as `read_image`, or no object pixel at all.
    """
    mask = _binarise(_load(path), path)
    if not mask.any():
        raise PisamError(
            f"{path}: the mask is empty; expected 0/1 or 0/255 with some object; mend it or take the pair out"
        )
    return mask


def read_pair(image_path: Path, mask_path: Path) -> tuple[UInt8Array, BoolArray]:
    """An image (H, W, 3) and its mask (H, W).

    Raises:
        PisamError: as `read_image` and `read_mask`, or their upright sizes differ.
    """
    image, mask = read_image(image_path), read_mask(mask_path)
    if image.shape[:2] != mask.shape:
        raise PisamError(
            f"{mask_path}: the mask is {mask.shape[1]}x{mask.shape[0]} but its image {image_path} is "
            f"{image.shape[1]}x{image.shape[0]} (after EXIF rotation); expected the same size"
        )
    return image, mask


def _load(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on; the limit here is ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError(f"{image.width}x{image.height}")
                image.load()
                return ImageOps.exif_transpose(image)
    except Image.DecompressionBombError as error:
        raise PisamError(
            f"{path}: its header claims more than {MAX_PIXELS // 10**6} megapixels; resize or remove it"
        ) from error
    except FileNotFoundError as error:
        raise PisamError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise PisamError(f"{path}: not an image that can be read; replace or remove it") from error
    # Pillow's decoders raise all of these on damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise PisamError(f"{path}: damaged or truncated ({error}); replace it") from error


def _binarise(image: Image.Image, path: Path) -> BoolArray:
    if image.mode in _SIXTEEN_BIT_MODES:
        wide = _sixteen_bit(image, path)
        return wide > 32767 if wide.max() > 255 else _threshold(wide)
    if image.mode == "P" and not _has_alpha(image):
        colours = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        indices = np.array(image)
        used = colours[np.unique(indices).clip(max=len(colours) - 1)]
        if (used != used[:, :1]).any():
            return indices > 0
    if _has_alpha(image):
        rgba = np.array(image.convert("RGBA"))
        colour, alpha = rgba[..., :3].max(axis=2), rgba[..., 3]
        if colour.min() == colour.max() and alpha.min() != alpha.max():
            return _threshold(alpha)
        return _threshold(np.where(alpha > 127, colour, 0))
    if image.mode in ("1", "L"):
        return _threshold(np.array(image.convert("L")))
    return _threshold(np.array(image.convert("RGB")).max(axis=2))


def _threshold(values: IntArray) -> BoolArray:
    return values > (127 if values.max() > 1 else 0)


def _sixteen_bit(image: Image.Image, path: Path) -> IntArray:
    values = np.array(image)
    if values.min() < 0 or values.max() > 65535:
        raise PisamError(f"{path}: values from {values.min()} to {values.max()}; expected at most 16 bits")
    return values


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
