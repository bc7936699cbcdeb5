"""From a pair at original size to the square network frame: jitter in training, a squash in validation.

Large-scale jitter follows Ghiasi et al., "Simple Copy-Paste" (CVPR 2021), with the ranges of Pi-SAM.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pisam.data.reading import BoolArray, UInt8Array

PAD_VALUE = 128
REDRAWS = 10


@dataclass(frozen=True)
class Framed:
    """A pair in the S x S network frame.

    Attributes:
        image: uint8 (S, S, 3) RGB, `PAD_VALUE` right of and below the content.
        mask: bool (S, S), never empty.
        box: float32 (4,), xyxy edges in pixels of the frame.
        extent: (width, height) of the content in pixels.
    """

    image: UInt8Array
    mask: BoolArray
    box: npt.NDArray[np.float32]
    extent: tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A part of the original image, in its pixels, and the size it takes in the frame."""

    left: int
    top: int
    width: int
    height: int
    out_width: int
    out_height: int

    def cut(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The window's part of (H, W, ...)."""
        return array[self.top : self.top + self.height, self.left : self.left + self.width]


def frame_for_training(
    image: UInt8Array,
    mask: BoolArray,
    size: int,
    rng: np.random.Generator,
    *,
    flip: bool = True,
    jitter: tuple[float, float] | None = (0.8, 1.6),
) -> Framed:
    """A random view: flipped or not, its long side scaled to s * size, cropped or padded to the frame.

    The window is cut from the original and only then resized: work and memory depend on the frame, not on
    how far the image would have been enlarged.

    Args:
        image: uint8 (H, W, 3).
        mask: bool (H, W) with some object pixel.
        size: side S of the frame.
        rng: all randomness.
        flip: mirror left and right in half of the views.
        jitter: range of s; None squashes the whole image into the frame.
    """
    mirrored = flip and rng.random() < 0.5
    window = _whole(mask, size) if jitter is None else _draw_window(mask, size, jitter, rng)
    image, mask = _resize_image(window.cut(image), window), _resize_mask(window.cut(mask), window)
    if mirrored:
        image, mask = image[:, ::-1], mask[:, ::-1]
    height, width = mask.shape
    framed_image = np.full((size, size, 3), PAD_VALUE, dtype=np.uint8)
    framed_mask = np.zeros((size, size), dtype=bool)
    framed_image[:height, :width] = image
    framed_mask[:height, :width] = mask
    return Framed(framed_image, framed_mask, box_of(framed_mask), (width, height))


def frame_for_validation(image: UInt8Array, mask: BoolArray, size: int) -> Framed:
    """The whole pair squashed into the frame; the box is that of the original mask, scaled.

    Taking the box before resizing keeps the prompt independent of how thin structures survive it.
    """
    height, width = mask.shape
    window = _whole(mask, size)
    scale = np.array([size / width, size / height] * 2)
    box = (box_of(mask) * scale).astype(np.float32)
    return Framed(_resize_image(image, window), _resize_mask(mask, window), box, (size, size))


def box_of(mask: BoolArray) -> npt.NDArray[np.float32]:
    """The tight box of a mask (H, W) that is not empty: float32 (4,), xyxy edges in pixels."""
    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], dtype=np.float32)


def _whole(mask: BoolArray, size: int) -> Window:
    height, width = mask.shape
    return Window(0, 0, width, height, size, size)


def _draw_window(mask: BoolArray, size: int, jitter: tuple[float, float], rng: np.random.Generator) -> Window:
    """A random window that holds some of the object; after `REDRAWS` misses, one around an object pixel."""
    for _ in range(REDRAWS):
        scale = rng.uniform(*jitter)
        window = _window_at(mask.shape, size, scale, rng.random(), rng.random())
        if window.cut(mask).any():
            return window
    ys, xs = mask.nonzero()
    pixel = rng.integers(len(xs))
    left = np.clip(xs[pixel] - window.width // 2, 0, mask.shape[1] - window.width)
    top = np.clip(ys[pixel] - window.height // 2, 0, mask.shape[0] - window.height)
    return Window(int(left), int(top), window.width, window.height, window.out_width, window.out_height)


def _window_at(shape: tuple[int, ...], size: int, scale: float, across: float, down: float) -> Window:
    """The window of a scale, at a fraction `across` and `down` of the room it has."""
    height, width = shape
    ratio = scale * size / max(height, width)

    def along(length: int, fraction: float) -> tuple[int, int, int]:
        kept = max(1, min(length, round(size / ratio)))
        out = size if kept < length else max(1, min(size, round(length * ratio)))
        return int(fraction * (length - kept + 1)), kept, out

    left, kept_width, out_width = along(width, across)
    top, kept_height, out_height = along(height, down)
    return Window(left, top, kept_width, kept_height, out_width, out_height)


def _interpolation(window: Window) -> int:
    shrinks = window.out_width < window.width or window.out_height < window.height
    return cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR


def _resize_image(image: npt.NDArray[np.generic], window: Window) -> UInt8Array:
    size = (window.out_width, window.out_height)
    resized = cv2.resize(np.asarray(image, np.uint8), size, interpolation=_interpolation(window))
    return np.asarray(resized, np.uint8)


def _resize_mask(mask: npt.NDArray[np.generic], window: Window) -> BoolArray:
    """Object where it covers at least half of a pixel, or, if it does so nowhere, the pixels covered most."""
    size = (window.out_width, window.out_height)
    coverage = cv2.resize(mask.astype(np.float32), size, interpolation=_interpolation(window))
    threshold = min(0.5, float(coverage.max()))
    result: BoolArray = coverage >= threshold
    return result
