"""Values of more than eight bits, which Pillow would cut to eight or read upside down."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pisam.core.errors import PisamError

GREY_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
MAX_COLOUR_PIXELS = 40_000_000  # such a file is decoded twice

_COLOUR = ("RGB;16", "RGBA;16")
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO, _SAMPLE_FORMAT, _SIGNED = 258, 262, 0, 339, 2  # of TIFF
# Read with the other order of bytes, Pillow keeps the low one of each value.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B"}

Values = npt.NDArray[np.uint16]


def raw_mode(image: Image.Image) -> str:
    """Pillow's name, such as `RGB;16B`, of how a file that is open, but not loaded, stores its pixels."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else None
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw if isinstance(raw, str) else image.mode


def wide_values(
    image: Image.Image, data: bytes, raw: str, upright: Callable[[Image.Image], Image.Image], path: Path
) -> Values | None:
    """The values of a picture as its file holds them: uint16 (H, W) or (H, W, C); None for eight bits.

    Grey of which 0 is white comes with 0 as black.

    Args:
        image: the loaded picture, not turned yet; `upright` turns it.
        data: the file, at `path`.
        raw: its `raw_mode`.

    Raises:
        PisamError: values beyond 16 bits or below 0; 16-bit colour in a layout that Pillow cuts in silence.
    """
    if image.mode in GREY_MODES:
        values = grey_values(upright(image), path)
        return _black_is_zero(values, image) if image.format == "TIFF" else values
    if raw[:-1] in _COLOUR and raw[-1] in _OTHER_ORDER:
        if image.width * image.height > MAX_COLOUR_PIXELS:
            raise PisamError(
                f"{path}: 16-bit colour of more than expected, {MAX_COLOUR_PIXELS // 10**6} megapixels at "
                "most; save it with 8 bits a channel"
            )
        high, low = (np.asarray(upright(half)) for half in (image, _low_bytes(data, raw)))
        return (high.astype(np.uint16) << 8) | low
    if ";16" in raw or (image.format == "TIFF" and max(_tag(image, _BITS, (8,))) > 8):
        raise PisamError(
            f"{path}: 16-bit pixels stored as {raw}; expected RGB or RGBA, not in planes; save it with 8 "
            "bits a channel"
        )
    signed = image.format == "TIFF" and _SIGNED in _tag(image, _SAMPLE_FORMAT, (1,))
    if signed and np.asarray(image).max() > 127:
        raise PisamError(f"{path}: values below 0; expected none; save it as unsigned 8 bits")
    return None


def highest_value(image: Image.Image) -> int:
    """The highest value of a picture of more than eight bits that its file can hold."""
    bits = max(_tag(image, _BITS, (16,))) if image.format == "TIFF" else 16
    return 2 ** min(16, bits) - 1


def grey_values(image: Image.Image, path: Path) -> Values:
    """The values of 16-bit grey as Pillow has them; see `wide_values`."""
    values = np.array(image)
    if values.min() < 0 or values.max() > 65535:
        raise PisamError(
            f"{path}: values from {values.min()} to {values.max()}; expected at most 16 bits; convert it"
        )
    return values.astype(np.uint16)


def _black_is_zero(values: Values, image: Image.Image) -> Values:
    white_is_zero = _tag(image, _PHOTOMETRIC, (1,))[0] == _WHITE_IS_ZERO
    return (highest_value(image) - values).astype(np.uint16) if white_is_zero else values


def _low_bytes(data: bytes, raw: str) -> Image.Image:
    with Image.open(BytesIO(data), formats=("PNG", "TIFF")) as image:
        swapped = raw[:-1] + _OTHER_ORDER[raw[-1]]
        image.tile = [
            tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
            for tile in image.tile
        ]
        image.load()
        return image.copy()


def _tag(image: Image.Image, number: int, default: tuple[int, ...]) -> tuple[int, ...]:
    value = image.tag_v2.get(number, default)  # type: ignore[attr-defined]
    return value if isinstance(value, tuple) else (value,)
