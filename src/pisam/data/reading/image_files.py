"""Opening picture files: whole, upright, of a sane size, or an error that names the file.

The content of a file decides what it is, not its suffix: BMP, JPEG, PNG, TIFF or WebP, one picture each. EXIF
orientation is applied; an unreadable one counts as upright.

Refused are missing, damaged and truncated files, files without their end (a download filled up with zeros),
several pages, floating-point pixels, and headers that claim more than `MAX_PIXELS`. What no format allows to
notice: bits that changed inside a JPEG or WebP, zeros at the end of a BMP, TIFF or WebP.

Pillow cuts most wider files to eight bits, and takes white for 0 in some: see `wide`.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from pisam.core.errors import PisamError
from pisam.data.reading.wide import GREY_MODES, highest_value, raw_mode, wide_values

# Larger than any camera of today; a file that claims more is damaged or hostile.
MAX_PIXELS = 160_000_000

BAND = 256  # rows handed over at a time

# Pillow knows more, and runs other programs for some of them.
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")

_COLOUR_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB")
_ORIENTATION = 0x0112
_TILE = (322, 323)  # tags of a TIFF: width and length of its tiles
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Picture:
    """An upright picture."""

    image: Image.Image  # in eight bits a channel, or 16-bit grey; never of mode "1"
    size: tuple[int, int]  # (width, height) of the whole picture, where `image` may be a reduced one
    # uint16 (H, W) or (H, W, C), the values of a file of more than eight bits, in place of `image`'s
    wide: npt.NDArray[np.uint16] | None = None
    # what the sample value 1 of the file has become in `image`: 255, 85 and 17 for 1-, 2- and 4-bit grey,
    # which Pillow spreads over eight bits, else 1
    step: int = 1
    highest: int = 65535  # value of the full range of `wide`

    @property
    def has_alpha(self) -> bool:
        """An alpha channel, or one colour that the file declares transparent."""
        return self.image.mode in ("RGBA", "LA", "PA") or "transparency" in self.image.info


def load_picture(path: Path, reduction: int = 1) -> Picture:
    """The picture of a file that was looked at from its header to its end.

    Args:
        path: the file.
        reduction: 1, 2, 4 or 8: a JPEG may come at that fraction of its size, which its decoder reaches
            faster; its sides are then divided and rounded up.

    Raises:
        PisamError: for everything above; names the file, what was expected and what to do.
    """
    with _opened(path) as file:
        return _decode(file, path, reduction)


def sides(path: Path) -> list[int]:
    """The two sides that a file's header claims, the smaller first: it need not be upright.

    Raises:
        PisamError: as `load_picture`, of what the header shows.
    """
    with _opened(path) as file, Image.open(file, formats=FORMATS) as image:
        _check_header(image, path)
        return sorted(image.size)


def picture_of(image: Image.Image, path: Path) -> Picture:
    """A picture of Pillow; `path` begins errors.

    What Pillow has opened, but not decoded yet, is read as its file is. What it has decoded comes upright,
    too, but of 16-bit colour Pillow kept the high bytes. A picture that was made, or made of another one
    (converted, cut, turned), is taken as it stands.

    Raises:
        PisamError: unreadable, too large, or pixels of another kind than 8 or 16 bits.
    """
    with _named(path):
        if claimed_pixels(image) > MAX_PIXELS:
            raise _too_large(path)
        _check_mode(image, path)
        file = image.fp if isinstance(image, ImageFile.ImageFile) and image.tile else None
        if file is not None and image.format in FORMATS and not _several(image):
            picture = _decode(BytesIO(_whole(file)), path)
            if sorted(picture.size) == sorted(image.size):  # else a JPEG that was asked to come smaller
                return picture
        image.load()
        turned = _upright if isinstance(image, ImageFile.ImageFile) else _as_it_stands
        wide = wide_values(image, b"", "", turned, path) if image.mode in GREY_MODES else None
        upright = turned(image)
        return _spread(Picture(upright, upright.size, wide), image.mode)


def picture_of_array(values: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> Picture:
    """Grey (H, W), RGB or RGBA (H, W, C) as a picture."""
    if values.dtype == np.uint8:
        image = Image.fromarray(np.ascontiguousarray(values))
        return Picture(image, image.size)
    size = (values.shape[1], values.shape[0])
    return Picture(Image.new("L", size), size, wide=np.asarray(values, np.uint16))


def as_array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels of an 8-bit picture, (H, W) or (H, W, C)."""
    channels = len(image.getbands())
    pixels = np.empty((image.height, image.width, channels)[: 2 if channels == 1 else 3], np.uint8)
    for top, band in bands(image):
        pixels[top : top + band.height] = np.asarray(band)
    return pixels


def bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """A picture from the top, as (first row, some rows).

    Pillow hands all of a large picture over at once, through one more copy that is larger than any cache.
    """
    for top in range(0, image.height, BAND):
        yield top, image.crop((0, top, image.width, min(image.height, top + BAND)))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file, whose errors name it; see `_named`."""
    with _named(path):
        if not path.is_file():
            what = "not a file" if path.exists() else "no such file"
            raise PisamError(f"{path}: {what}; expected an image; put one there")
        with path.open("rb") as file:
            yield file


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Make every error one `PisamError` that names the file, and keep Pillow's warnings back."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and of odd metadata; the rules here are ours. Threads may leave
            # this filter behind, so it names Pillow alone.
            warnings.filterwarnings("ignore", module="PIL")
            yield
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except PermissionError as error:
        raise PisamError(f"{path}: may not be read; expected permission for this user; grant it") from error
    except UnidentifiedImageError as error:
        raise PisamError(
            f"{path}: not an image that can be read; expected one of {', '.join(FORMATS)}; replace it"
        ) from error
    except PisamError:
        raise
    except Exception as error:  # Pillow's decoders raise anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PisamError(
            f"{path}: damaged or truncated ({reason}); expected all of it; replace it"
        ) from error


def _decode(file: BinaryIO, path: Path, reduction: int = 1) -> Picture:
    with Image.open(file, formats=FORMATS) as image:
        _check_header(image, path)
        data = _whole(file)
        _check_end(data, image.format)
        raw = raw_mode(image)  # first: to look for EXIF in a PNG, Pillow may load it
        size = _upright_size(image)
        jpeg = image.format in ("JPEG", "MPO")
        if image.format == "BMP" and raw in ("1", "L") and _bits_of_bmp(data) != (1 if raw == "1" else 8):
            # By a palette of black and white alone Pillow takes them for as many bits as these need.
            if (pixels := cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)) is None:
                raise ValueError("no bitmap")
            return Picture(Image.fromarray(np.ascontiguousarray(pixels[..., 0])), size)
        _draft(image, reduction)
        image.load()
        if image.mode in ("P", "PA") and not image.getpalette("RGB"):
            raise ValueError("a palette without colours")
        wide, upright = wide_values(image, data, raw, _upright, path), _upright(image)
        # Pillow turns a TIFF itself.
        picture = Picture(upright, size if jpeg else upright.size, wide, highest=highest_value(image))
        return _spread(picture, raw)


def _bits_of_bmp(data: bytes) -> int:
    """Bits a pixel, by a header of 12 bytes or one of the longer ones."""
    place = 24 if data[14:18] == b"\x0c\0\0\0" else 28
    return int.from_bytes(data[place : place + 2], "little")


def _spread(picture: Picture, raw: str) -> Picture:
    """Note in `Picture.step` how Pillow spread 1-, 2- and 4-bit grey over eight bits."""
    bits = 1 if picture.image.mode == "1" else int(raw[2]) if raw[:3] in ("L;2", "L;4") else 8
    if bits == 8:
        return picture
    image, step = picture.image.convert("L"), 255 // (2**bits - 1)
    transparent = picture.image.info.get("transparency")
    image.info = {} if not isinstance(transparent, int) else {"transparency": transparent * step}
    return Picture(image, picture.size, step=step)


def _draft(image: Image.Image, reduction: int) -> None:
    """Ask a JPEG's decoder for a smaller picture, if its blocks are then those of the upright picture.

    Blocks start at the first stored pixel: a picture that must be turned has to consist of whole ones.
    """
    width, height = image.size
    partial = width % reduction or height % reduction
    if (
        image.format == "JPEG"
        and min(image.size) >= reduction > 1
        and not (partial and _orientation(image) > 1)
    ):
        image.draft(None, (width // reduction, height // reduction))


def _whole(file: IO[bytes]) -> bytes:
    """All bytes of a file that Pillow goes on reading from where it stands."""
    position = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(position)
    return data


def claimed_pixels(image: Image.Image) -> int:
    """The pixels that an opened picture takes to decode: its own, or those of a TIFF's tile, often more."""
    tags = getattr(image, "tag_v2", {})
    tile = [tags.get(key, 0) for key in _TILE]
    whole = all(isinstance(side, int) for side in tile)
    return max(image.width * image.height, tile[0] * tile[1] if whole else 0)


def _check_header(image: Image.Image, path: Path) -> None:
    if claimed_pixels(image) > MAX_PIXELS:
        raise _too_large(path)
    # A phone's MPO holds the photograph first, then depth maps and the like.
    if image.format != "MPO" and _several(image):
        raise PisamError(f"{path}: holds several pages or frames; expected one; save the right one alone")
    _check_mode(image, path)


def _several(image: Image.Image) -> bool:
    # To count a TIFF's pages takes Pillow a time that grows with the square of their number.
    tiff = image.format == "TIFF"
    return bool(getattr(image, "is_animated", False) if tiff else getattr(image, "n_frames", 1) > 1)


def _check_mode(image: Image.Image, path: Path) -> None:
    if image.mode not in (*_COLOUR_MODES, *GREY_MODES):
        raise PisamError(f"{path}: pixels of kind {image.mode}; expected 8 or 16 bits a channel; convert it")


def _too_large(path: Path) -> PisamError:
    most = f"{MAX_PIXELS // 10**6} megapixels"
    return PisamError(f"{path}: its header claims more pixels than expected, {most} at most; resize it")


def _check_end(data: bytes, format_: str | None) -> None:
    """Raise ValueError for a missing end or wrong checksum, as broken downloads have; Pillow does not."""
    if format_ in ("JPEG", "MPO"):
        start = 2
        # Segments up to the start of the scan: a thumbnail in one of them has an end marker of its own.
        while data[start : start + 1] == b"\xff" and data[start + 1] != 0xDA:
            start += 1 if data[start + 1] == 0xFF else 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if data.rfind(b"\xff\xd9", start) < 0:
            raise ValueError("the end of the JPEG is missing")
    elif format_ == "PNG":
        start, kind, view = 8, b"", memoryview(data)
        while kind != b"IEND":
            end = start + 8 + int.from_bytes(view[start : start + 4], "big")
            if end + 4 > len(view):
                raise ValueError("the end of the PNG is missing")
            kind = bytes(view[start + 4 : start + 8])
            # An upper-case initial marks what the picture cannot be drawn without.
            critical = kind[:1].isupper()
            if critical and zlib.crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
                raise ValueError(f"wrong checksum of {kind.decode('latin-1')}")
            start = end + 4


def _orientation(image: Image.Image) -> int:
    """1 for upright, or a key of `_TURNS`."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return 1
    return orientation if orientation in _TURNS else 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _as_it_stands(image: Image.Image) -> Image.Image:
    return image


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _orientation(image) >= 5 else (width, height)
