"""A second look at full resolution: thin parts of a large picture that its frame is too coarse for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pisam.core.locality import alike
from pisam.core.types import BoolArray, Click, FloatArray, UInt8Array
from pisam.data.transforms import squash
from pisam.predictor.engine import Engine, Prompt
from pisam.predictor.images import box_of
from pisam.predictor.session import low_resolution

SMALLEST_TILE = 64  # pixels
MARGIN = 0.1  # around the object, as a share of its sides
RAMP = 0.125  # of a window's side: over which it fades in
STEP = 0.75  # of a tile's side, from one to the next
REACH = 8.0  # pixels of the frame: how far from the first outline the second look counts
SAVED = 0.9  # a window with a larger share of the image's sides than this shows no more than the frame


@dataclass(frozen=True)
class Part:
    """A part of an image: pixels from its upper left corner, and their numbers."""

    left: int
    top: int
    width: int
    height: int

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def look_again(
    engine: Engine,
    pixels: UInt8Array,
    logits: FloatArray,
    clicks: Sequence[Click],
    tile: int | None = None,
) -> FloatArray:
    """Logits of an object, seen again in windows of the image and merged without seams.

    The model is given each window with the object's box, its first mask and the clicks inside. Its answers
    count near the first outline and fade towards a window's edges, so what is far stays as it was; one that
    is another object than the first counts nowhere.

    Args:
        engine: the model.
        pixels: uint8 (H, W, 3) RGB, the image.
        logits: float32 (H, W), the first answer.
        clicks: in pixels of the image.
        tile: side of the windows in pixels, which overlap; None = one window around object and clicks.

    Returns:
        float32 (H, W); `logits` itself where no window would show more than the frame did.
    """
    mask = logits > 0
    parts = [part for part in parts_of(mask, clicks, tile) if _shows_more(part, mask, engine.side)]
    if not parts:
        return logits
    height, width = mask.shape
    spread = REACH * max(height, width) / engine.side
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), spread)
    near = np.clip(8 * soft * (1 - soft), 0, 1)
    added, total = np.zeros_like(logits), np.zeros_like(logits)
    for part in parts:
        answer = _answer(engine, pixels, logits, clicks, part)
        if not alike(logits[part.place], answer):  # the window does not show what the object is
            continue
        weight = _ramp(part, mask.shape)
        added[part.place] += weight * answer
        total[part.place] += weight
    share = near * np.minimum(total, 1)
    merged: FloatArray = logits + share * (added / np.maximum(total, 1e-6) - logits)
    return merged


def parts_of(mask: BoolArray, clicks: Sequence[Click], tile: int | None) -> list[Part]:
    """The windows around an object and the clicks on it; none where there is neither."""
    height, width = mask.shape
    edges = box_of(mask)
    corners = [] if edges is None else [edges]
    corners += [np.array([x, y, x + 1, y + 1]) for x, y, _ in clicks]
    if not corners:
        return []
    table = np.stack(corners)
    first, last = table[:, :2].min(axis=0), table[:, 2:].max(axis=0)
    margin = MARGIN * (last - first) + 1
    left, top = np.floor(np.maximum(first - margin, 0)).astype(int)
    right, bottom = np.ceil(np.minimum(last + margin, [width, height])).astype(int)
    if tile is None:
        return [Part(int(left), int(top), int(right - left), int(bottom - top))]
    return [
        Part(column, row, min(tile, width), min(tile, height))
        for row in _starts(int(top), int(bottom), tile, height)
        for column in _starts(int(left), int(right), tile, width)
    ]


def _starts(first: int, last: int, tile: int, side: int) -> list[int]:
    """Starts of tiles that cover first..last along a side of the image, spread evenly."""
    most = max(0, side - tile)
    number = max(1, int(np.ceil((last - first - tile) / (STEP * tile))) + 1)
    if number == 1:
        return [int(np.clip((first + last - tile) // 2, 0, most))]
    return [int(np.clip(round(at), 0, most)) for at in np.linspace(first, max(first, last - tile), number)]


def _shows_more(part: Part, mask: BoolArray, side: int) -> bool:
    """True of a window with some outline in it that is seen larger than in the frame."""
    height, width = mask.shape
    inside = mask[part.place]
    larger = max(part.width / width, part.height / height) <= SAVED and max(height, width) > side
    return larger and bool(inside.any()) and not bool(inside.all())


def _answer(
    engine: Engine, pixels: UInt8Array, logits: FloatArray, clicks: Sequence[Click], part: Part
) -> FloatArray:
    """The model's logits in a window, float32 (h, w)."""
    first = np.ascontiguousarray(logits[part.place])
    edges = box_of(first > 0)
    assert edges is not None
    across, down = engine.side / part.width, engine.side / part.height
    box = (edges * [across, down, across, down]).astype(np.float32)
    encoded = engine.encode(squash(np.ascontiguousarray(pixels[part.place]), engine.side))
    (state,) = engine.first(encoded, [Prompt(box=box, mask=low_resolution(first, engine.side // 4))])
    inside = [
        ((x - part.left) * across, (y - part.top) * down, label)
        for x, y, label in clicks
        if part.left <= x < part.left + part.width and part.top <= y < part.top + part.height
    ]
    if inside:
        state = engine.after(state, inside)
    return engine.logits(state, (part.height, part.width))


def _ramp(part: Part, shape: tuple[int, ...]) -> FloatArray:
    """Weights (h, w) from 0 at a window's edges to 1 inside; edges of the image itself are inside."""

    def along(start: int, length: int, side: int) -> FloatArray:
        at = (np.arange(length, dtype=np.float32) + 0.5) / max(1.0, RAMP * length)
        rise = np.ones(length, np.float32) if start == 0 else at
        fall = np.ones(length, np.float32) if start + length == side else at[::-1]
        ramp = np.clip(np.minimum(rise, fall), 0, 1)
        return ramp * ramp * (3 - 2 * ramp)

    rows, columns = along(part.top, part.height, shape[0]), along(part.left, part.width, shape[1])
    return rows[:, None] * columns
