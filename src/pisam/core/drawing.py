"""Drawing on pictures, whoever shows them: clicks, and the regions where a mask is right and wrong."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from pisam.core.types import BoolArray, Click, UInt8Array

FOREGROUND_CLICK = (0, 200, 0)
BACKGROUND_CLICK = (230, 0, 0)
# Told apart by colour-blind eyes too, and rare in photographs.
MISSED = (226, 0, 122)
FALSE = (0, 170, 228)
# The regions of `error_regions`, in their order.
REGION_COLOURS = ((0, 0, 0), (255, 255, 255), FALSE, MISSED)


def draw_clicks(
    picture: Image.Image, clicks: Iterable[Click], *, scale: float = 1.0, radius: int | None = None
) -> Image.Image:
    """Draw clicks onto a picture, green for foreground and red for background.

    Args:
        picture: RGB, changed in place.
        clicks: (x, y, label) in pixels of a frame whose upper left corner is the picture's.
        scale: pixels of the picture per pixel of that frame.
        radius: in pixels of the picture; a hundredth of its longer side by default.

    Returns:
        the picture.
    """
    draw = ImageDraw.Draw(picture)
    radius = radius or max(3, max(picture.size) // 100)
    for x, y, label in clicks:
        x, y = x * scale, y * scale
        colour = FOREGROUND_CLICK if label == 1 else BACKGROUND_CLICK
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline="white")
    return picture


def error_regions(prediction: BoolArray, mask: BoolArray) -> UInt8Array:
    """Regions of a prediction (H, W): 0 background, 1 object, 2 false and 3 missed object."""
    return mask + np.uint8(2) * (prediction ^ mask)


def painted(regions: UInt8Array) -> UInt8Array:
    """Regions (H, W) as an RGB picture (H, W, 3)."""
    return np.array(REGION_COLOURS, dtype=np.uint8)[regions]


def shrunk_regions(regions: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Regions (H, W) at a smaller (width, height): of each pixel the region that covers most of it."""
    shares = [
        Image.fromarray((regions == region) * np.uint8(255)).resize(size, Image.Resampling.BOX)
        for region in range(len(REGION_COLOURS))
    ]
    return np.argmax(np.stack([np.asarray(share) for share in shares]), axis=0).astype(np.uint8)


def fitted(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size with the same aspect whose longer side is at most `longest` pixels; nothing is enlarged."""
    share = min(1.0, longest / max(width, height))
    return max(1, round(width * share)), max(1, round(height * share))


def as_hex(colour: tuple[int, int, int]) -> str:
    """A colour as style sheets and plots take it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
