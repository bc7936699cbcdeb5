"""From a pair at original size to the square network frame: jitter in training, a squash in validation.

Large-scale jitter follows Ghiasi et al., "Simple Copy-Paste" (CVPR 2021), with the ranges of Pi-SAM. What is
to be shown is cut out before it is resized: work and memory depend on the frame, not on how far the image
would have been enlarged.

A training view that shrinks its image to less than half uses the image reduced by 2, 4 or 8 (never below
the size it takes in the frame), which `read_reduced` decodes in a fraction of the time. The mask is always
decoded whole, thresholded, and only then averaged over the same blocks. Both are cut at the same blocks and
interpolated, as a texture is from its mip map; so they stay aligned to the pixel. Validation uses every
pixel of both.

Geometry is done here rather than by albumentations, which wants whole arrays: decoded in full, then resized,
cropped and flipped by it, a sample of 12 or 24 megapixels took 2.0 and 2.4 times as long (180 against 88 ms,
366 against 153 ms of one core). A view is drawn before its image is read, for it decides how far to reduce,
and it keeps the exact map back to original pixels. What moves no pixel (colour, blur, noise) is
albumentations', see `pisam.data.photometric`. Both are functions of (seed, epoch, set, id).

Composites paste the object of one picture on another (Ghiasi et al.). What is asked for is the picture's own
object, the pasted one, or both, so neither looks nor colours tell: the prompt does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pisam.core.types import BoolArray, FloatArray, UInt8Array, Window
from pisam.data.reading.image_files import BAND
from pisam.data.reading.reader import ALL, reduce_mask

PAD_VALUE = 128
REDRAWS = 10
REDUCTIONS = (8, 4, 2)

Change = Callable[[UInt8Array], UInt8Array]


@dataclass(frozen=True)
class Framed:
    """A pair in the S x S network frame."""

    image: UInt8Array  # uint8 (S, S, 3) RGB, `PAD_VALUE` right of and below the content
    mask: BoolArray  # bool (S, S), never empty
    box: FloatArray  # float32 (4,), xyxy edges in pixels of the frame
    window: Window  # what of the original the frame shows
    # bool (S, S), pixels at least half of which are ignored and that are not object; None = none
    ignored: BoolArray | None = None

    @property
    def extent(self) -> tuple[int, int]:
        """(width, height) of the content in pixels."""
        return self.window.out_width, self.window.out_height


@dataclass(frozen=True)
class View:
    """A random view of a pair, drawn from its mask before the image is read."""

    window: Window  # what of the original it shows
    reduction: int  # by how much the image is reduced before
    interpolated: bool  # the pair was averaged down before; what little is left is interpolated
    coverage: UInt8Array  # uint8 (h, w), the reduced mask inside the window, see `reduce_mask`

    def cut(self, reduced: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The window's part of the reduced image (H, W, ...)."""
        left, top = self.window.left // self.reduction, self.window.top // self.reduction
        height, width = self.coverage.shape
        return reduced[top : top + height, left : left + width]


def draw_view(
    shape: tuple[int, int],
    coverage: Callable[[int], UInt8Array],
    size: int,
    rng: np.random.Generator,
    *,
    flip: bool = True,
    jitter: tuple[float, float] | None = (0.8, 1.6),
    prepared: bool = False,
) -> View:
    """A random view: flipped or not, its long side scaled to s * size, cropped or padded to the frame.

    Args:
        shape: (H, W) of the mask.
        coverage: gives the mask reduced by 1, 2, 4 or 8, see `reduce_mask`; some pixel is object.
        size: side S of the frame.
        rng: all randomness.
        flip: mirror left and right in half of the views.
        jitter: range of s; None squashes the whole image into the frame.
        prepared: the pair is a copy that was averaged down.
    """
    mirrored = flip and rng.random() < 0.5
    if jitter is None:
        height, width = shape
        return View(Window(0, 0, width, height, size, size, mirrored), 1, prepared, coverage(1))
    for _ in range(REDRAWS):
        scale = rng.uniform(*jitter)
        reduction = _reduction(scale * size / max(shape))
        reduced = coverage(reduction)
        window = _window_at(reduced.shape, size, scale, rng.random(), rng.random())
        if _cut(window, reduced).any():
            break
    else:
        ys, xs = reduced.nonzero()
        pixel = rng.integers(len(xs))
        left = np.clip(xs[pixel] - window.width // 2, 0, reduced.shape[1] - window.width)
        top = np.clip(ys[pixel] - window.height // 2, 0, reduced.shape[0] - window.height)
        window = replace(window, left=int(left), top=int(top))
    shown = replace(
        window,
        left=window.left * reduction,
        top=window.top * reduction,
        width=window.width * reduction,
        height=window.height * reduction,
        mirrored=mirrored,
    )
    inside = np.asarray(_cut(window, reduced), np.uint8)
    return View(shown, reduction, prepared or reduction > 1, inside)


def frame_view(
    view: View, image: UInt8Array, size: int, change: Change | None = None, ignored: UInt8Array | None = None
) -> Framed:
    """The frame of a view.

    Args:
        view: what `draw_view` gave.
        image: uint8 (H / r, W / r, 3), the image reduced by r = `view.reduction`.
        size: side S of the frame.
        change: of the content's colours; padding keeps its own.
        ignored: uint8 (H / r, W / r), see `reduce_mask`, what the data say nothing of.
    """
    window = view.window
    shown = _resize_image(view.cut(image), window, view.interpolated)
    shown = change(shown) if change else shown
    # A mask that was not reduced has two values only: to interpolate it would ignore some of its pixels.
    mask = _resize_mask(view.coverage, window, view.reduction > 1)
    if window.mirrored:
        shown, mask = shown[:, ::-1], mask[:, ::-1]
    # Laid out by channel, as the network takes it.
    framed_image = np.full((3, size, size), PAD_VALUE, dtype=np.uint8).transpose(1, 2, 0)
    framed_mask = np.zeros((size, size), dtype=bool)
    framed_image[: window.out_height, : window.out_width] = shown
    framed_mask[: window.out_height, : window.out_width] = mask
    framed = Framed(framed_image, framed_mask, box_of(framed_mask), window)
    if ignored is None:
        return framed
    left_out = (
        _resize_coverage(np.asarray(view.cut(ignored), np.uint8), window, view.reduction > 1) >= ALL / 2
    )
    framed_ignored = np.zeros_like(framed_mask)
    framed_ignored[: window.out_height, : window.out_width] = left_out[:, :: -1 if window.mirrored else 1]
    return replace(framed, ignored=framed_ignored & ~framed_mask)


def frame_for_validation(
    image: UInt8Array, mask: BoolArray, size: int, ignored: BoolArray | None = None
) -> Framed:
    """The whole pair squashed into the frame; the box is that of the original mask, scaled.

    Taking the box before resizing keeps the prompt independent of how thin structures survive it. `ignored`
    is bool (H, W), what the data say nothing of.
    """
    height, width = mask.shape
    window = Window(0, 0, width, height, size, size)
    scale = np.array([size / width, size / height] * 2)
    box = (box_of(mask) * scale).astype(np.float32)
    framed = Framed(*frame_whole(image, mask, size, size), box, window)
    if ignored is None:
        return framed
    left_out = _resize_coverage(reduce_mask(ignored, 1), window) >= ALL / 2
    return replace(framed, ignored=left_out & ~framed.mask)


def squash(image: UInt8Array, size: int) -> UInt8Array:
    """A whole image uint8 (H, W, 3) in the frame (size, size, 3), by the rules of validation."""
    height, width = image.shape[:2]
    return _resize_image(image, Window(0, 0, width, height, size, size))


def frame_whole(image: UInt8Array, mask: BoolArray, width: int, height: int) -> tuple[UInt8Array, BoolArray]:
    """A whole pair at another size, by the rules of validation: (height, width, 3) and (height, width)."""
    window = Window(0, 0, mask.shape[1], mask.shape[0], width, height)
    return _resize_image(image, window), _resize_mask(reduce_mask(mask, 1), window)


def box_of(mask: BoolArray) -> FloatArray:
    """The tight box of a mask (H, W) that is not empty: float32 (4,), xyxy edges in pixels."""
    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], dtype=np.float32)


def _reduction(ratio: float) -> int:
    """The largest reduction that leaves an image at least as large as it becomes in the frame."""
    return next((reduction for reduction in REDUCTIONS if ratio * reduction <= 1), 1)


def _cut(window: Window, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The part of (H, W, ...) that a window in its own pixels shows."""
    return array[window.top : window.top + window.height, window.left : window.left + window.width]


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


def _resize_image(image: npt.NDArray[np.generic], window: Window, interpolated: bool = False) -> UInt8Array:
    pixels, size = np.asarray(image, np.uint8), (window.out_width, window.out_height)
    resized = cv2.resize(pixels, size) if interpolated else _resize(pixels, *size)
    return np.asarray(resized, np.uint8)


def _resize_mask(coverage: UInt8Array, window: Window, interpolated: bool = False) -> BoolArray:
    """Object where it covers at least half of a pixel, or, if it does so nowhere, the pixels covered most."""
    resized = _resize_coverage(coverage, window, interpolated)
    result: BoolArray = resized >= min(ALL / 2, float(resized.max()))
    return result


def _resize_coverage(coverage: UInt8Array, window: Window, interpolated: bool = False) -> npt.NDArray[Any]:
    size = (window.out_width, window.out_height)
    if interpolated:
        return cv2.resize(coverage, size)
    # Along the rows first, band by band: as floats a large mask takes four times the memory.
    bands = (coverage[top : top + BAND].astype(np.float32) for top in range(0, len(coverage), BAND))
    narrow = np.concatenate([_resize(band, size[0], len(band)) for band in bands])
    return _resize(narrow, *size)


def _resize(values: npt.NDArray[Any], width: int, height: int) -> npt.NDArray[Any]:
    """At another size: averaged along a side that shrinks, interpolated along one that grows.

    OpenCV averages only where both sides shrink.
    """
    smaller = (min(width, values.shape[1]), min(height, values.shape[0]))
    averaged = cv2.resize(values, smaller, interpolation=cv2.INTER_AREA)
    return averaged if smaller == (width, height) else cv2.resize(averaged, (width, height))


PASTED_JITTER = (0.3, 1.0)  # of the picture the pasted object comes from: its long side, in frames


def paste(framed: Framed, other: Framed, rng: np.random.Generator) -> Framed:
    """`framed` with the object of `other` somewhere on it, and what the mask is then, drawn by `rng`."""
    width, height = framed.extent
    left, top, right, bottom = box_of(other.mask).astype(int)
    right, bottom = min(right, left + width), min(bottom, top + height)
    x = int(rng.integers(0, width - (right - left), endpoint=True))
    y = int(rng.integers(0, height - (bottom - top), endpoint=True))
    to = slice(y, y + bottom - top), slice(x, x + right - left)
    cut = other.mask[top:bottom, left:right]
    image = framed.image.copy(order="K")
    image[to][cut] = other.image[top:bottom, left:right][cut]
    pasted = np.zeros_like(framed.mask)
    pasted[to] = cut
    own = framed.mask & ~pasted
    wanted = (own, own | pasted, pasted)[int(rng.integers(3))]
    mask = wanted if wanted.any() else own | pasted
    ignored = None if framed.ignored is None else framed.ignored & ~pasted
    return replace(framed, image=image, mask=mask, box=box_of(mask), ignored=ignored)
