"""From a picture of any kind to the channel that a mask is read from, and to colour for an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from pisam.core.errors import PisamError
from pisam.core.types import UInt8Array
from pisam.data.reading.image_files import Picture, as_array, bands
from pisam.data.reading.values import (
    NOTHING_IGNORED,
    OBJECT_ABOVE,
    Coverage,
    refuse_unstated_index,
    take_out,
    to_coverage,
    to_eight_bits,
)

# Closer to black or white than this is no grey.
_NEARLY = 16


def image_rgb(picture: Picture) -> Image.Image:
    """The picture in RGB with eight bits a channel, transparent pixels seen on white."""
    image = image_rgba(picture)
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def image_rgba(picture: Picture) -> Image.Image:
    """The picture with eight bits a channel: RGBA where anything in it may be transparent."""
    if picture.wide is None:
        image = picture.image
        return image.convert("RGBA") if picture.has_alpha and image.mode != "RGBA" else image
    colour, alpha = _wide_colour(picture)
    image = Image.fromarray(to_eight_bits(colour, picture.highest))
    if alpha is not None:
        image = image.convert("RGB")
        image.putalpha(Image.fromarray(alpha))
    return image


def is_plain_grey(picture: Picture) -> bool:
    """Eight-bit grey in which nothing is transparent: what nearly all masks are."""
    return picture.wide is None and picture.image.mode == "L" and not picture.has_alpha


def picture_coverage(picture: Picture, path: Path, ignore: int | None = None) -> Coverage:
    """Coverage of a mask of any kind, by the rules of `values`.

    Raises:
        PisamError: see `to_coverage`; a palette whose background is unclear; `ignore` of a cut-out.
    """
    image = picture.image
    if picture.wide is None and image.mode in ("P", "PA") and _is_coloured(image):
        return _from_palette(picture, path, ignore)
    if not picture.has_alpha:
        return grey_coverage(picture, path, ignore)
    rgba = image_rgba(picture)
    if rgba.mode == "RGBA" and any(rgba.getchannel("A").histogram()[:255]):
        if ignore not in (None, NOTHING_IGNORED):
            raise PisamError(
                f"{path}: some pixels are transparent, so value {ignore} cannot be told; expected grey "
                "values or a palette where ignore is set; save it without alpha"
            )
        return Coverage(_from_alpha(as_array(rgba), path))
    return grey_coverage(picture, path, ignore)


def grey_coverage(picture: Picture, path: Path, ignore: int | None = None) -> Coverage:
    """Coverage of grey, or of the largest channel of colour, without regard to transparency."""
    if picture.wide is not None:
        wide = picture.wide
        values = wide if wide.ndim == 2 else wide[..., :3].max(axis=2)
        return to_coverage(values, path, ignore, highest=picture.highest)
    eight = as_array(picture.image) if picture.image.mode == "L" else _largest_channel(picture.image)
    return to_coverage(eight, path, ignore, picture.step)


def _largest_channel(image: Image.Image) -> UInt8Array:
    largest = np.empty((image.height, image.width), np.uint8)
    for top, band in bands(image):
        red, green, blue = band.convert("RGB").split()
        brightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
        largest[top : top + band.height] = np.asarray(brightest)
    return largest


def _wide_colour(picture: Picture) -> tuple[npt.NDArray[np.uint16], UInt8Array | None]:
    """Colour or grey of 16 bits, and the alpha of it in 8."""
    wide, transparent = picture.wide, picture.image.info.get("transparency")
    assert wide is not None
    if wide.ndim == 3 and wide.shape[2] == 4:
        return wide[..., :3], to_eight_bits(wide[..., 3])
    if transparent is None:
        return wide, None
    same = np.asarray(wide == np.asarray(transparent))
    hidden = same if wide.ndim == 2 else same.all(axis=2)
    return wide, np.where(hidden, np.uint8(0), np.uint8(255))


def _is_coloured(image: Image.Image) -> bool:
    used = _used_colours(image)
    return bool((used[:, 1:] != used[:, 1:2]).any())


def _used_colours(image: Image.Image) -> npt.NDArray[np.integer]:
    """(N, 4): index, red, green and blue of each palette entry that some pixel has."""
    palette = np.array(image.getpalette("RGB"), dtype=np.int64).reshape(-1, 3)
    indices = np.flatnonzero(image.getchannel(0).histogram())
    return np.column_stack([indices, palette[indices.clip(max=len(palette) - 1)]])


def _from_palette(picture: Picture, path: Path, ignore: int | None) -> Coverage:
    image = picture.image
    used = _used_colours(image)
    black = {int(index) for index, *colour in used if not any(colour)}
    if 0 in used[:, 0] and black and 0 not in black:
        raise PisamError(
            f"{path}: palette with a coloured index 0 and black at index {min(black)}, so the background is "
            "unclear; expected black at index 0; save the mask as 0/255"
        )
    refuse_unstated_index(used[:, 0], path, ignore)
    indices, ignored = take_out(as_array(image.getchannel(0)), ignore)
    if picture.has_alpha:
        indices = np.where(np.array(image.convert("RGBA"))[..., 3] > OBJECT_ABOVE, indices, 0)
    return Coverage(np.where(indices > 0, 255, 0).astype(np.uint8), ignored)


def _from_alpha(rgba: UInt8Array, path: Path) -> UInt8Array:
    """Alpha of a cut-out; where what is visible is itself black and white, that, seen on black."""
    colour, alpha = rgba[..., :3], to_coverage(rgba[..., 3], path, NOTHING_IGNORED).values
    visible = alpha > OBJECT_ABOVE
    largest = colour.max(axis=2)
    shown = to_coverage(largest, path, NOTHING_IGNORED).values[visible]
    drawn = (largest <= _NEARLY) | (colour.min(axis=2) >= 255 - _NEARLY) | (largest <= 1)
    two_shades = shown.size > 0 and shown.min() <= OBJECT_ABOVE < shown.max()
    if alpha.min() < alpha.max() and not (two_shades and drawn[visible].mean() >= 0.9):
        return alpha
    return to_coverage(np.where(visible, largest, 0).astype(np.uint8), path).values
