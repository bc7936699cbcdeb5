"""Polygons and run-length codes of COCO files, checked before a pixel of them is drawn.

pycocotools hands numbers to C as they are: NaN or 1e9 eat the memory, a size of a million crashes the
process, run lengths that do not add up give pixels that were never written.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_masks

MAX_PIXELS = 160_000_000  # of a frame, as of a picture
# Of the outline of one annotation, in pixels: pycocotools takes some 120 bytes for each.
MAX_OUTLINE = 4_000_000
_MOST_CHARACTERS = 7  # of one number in a compressed code: 35 bits

Mask = npt.NDArray[np.bool_]
Id = int | str


def decode(code: Any, height: int, width: int) -> Mask:
    """The pixels of a segmentation, bool (H, W); arguments and errors as in `run_lengths`."""
    runs = run_lengths(code, height, width)
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def run_lengths(code: Any, height: int, width: int) -> npt.NDArray[np.int64]:
    """The lengths of the runs of background and object, in turn, down the columns.

    Args:
        code: a list of polygons, each a list of x and y in turn, in pixels; or `{size, counts}` with the run
            lengths as a list or compressed.
        height: of the frame, in pixels; at most `MAX_PIXELS` with the width.
        width: of the frame.

    Raises:
        ValueError: says what is wrong with it.
    """
    if isinstance(code, list):
        runs = _draw([_polygon(points, height, width) for points in code], height, width)
        return _checked(runs, height, width)
    if not isinstance(code, dict) or not code.keys() >= {"size", "counts"}:
        raise ValueError("expected a list of polygons, or size and counts of a run-length code")
    size = code["size"]
    if not isinstance(size, list) or [whole(side) for side in size] != [height, width]:
        raise ValueError(f"its size is {_short(size)}, its image {width}x{height}")
    counts = code["counts"]
    return _checked(_decompress(counts) if isinstance(counts, str) else _listed(counts), height, width)


def _checked(runs: npt.NDArray[np.int64], height: int, width: int) -> npt.NDArray[np.int64]:
    total = sum(runs.tolist())
    if (runs < 0).any() or total != height * width:
        what = f"add up to {total}" if (runs >= 0).all() else "are negative"
        raise ValueError(f"run lengths {what}; expected {height * width}, all pixels of the frame")
    return runs


def whole(value: Any) -> int | None:
    """A whole number of 64 bits, whatever its type: 1, 1.0 and "1" are one; None for anything else."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None
    elif isinstance(value, float):
        value = int(value) if math.isfinite(value) and value == int(value) else None
    return value if type(value) is int and abs(value) < 2**63 else None


def id_of(value: Any) -> Id | None:
    """An id as what it means: a number, else the text."""
    number = whole(value)
    return value if number is None and isinstance(value, str) else number


def _polygon(points: Any, height: int, width: int) -> npt.NDArray[np.float64]:
    if not isinstance(points, list) or any(type(number) not in (int, float) for number in points):
        raise ValueError(f"a polygon is {_short(points)}; expected a list of numbers")
    if len(points) < 6 or len(points) % 2:
        raise ValueError(f"a polygon has {len(points)} numbers; expected x and y of 3 points at least")
    try:
        corners = np.array(points, np.float64).reshape(-1, 2)
    except OverflowError as error:
        raise ValueError("a polygon has a number that is too large") from error
    near = (corners >= [-width, -height]) & (corners <= [2 * width, 2 * height])  # NaN is not near
    if not near.all():
        x, y = corners[~near.all(axis=1)][0]
        raise ValueError(f"a polygon has the point ({x:g}, {y:g}), far from its {width}x{height} frame")
    return corners


def _draw(polygons: list[npt.NDArray[np.float64]], height: int, width: int) -> npt.NDArray[np.int64]:
    outline = sum(np.abs(np.diff(p, axis=0, append=p[:1])).max(axis=1).sum() for p in polygons)
    if outline > MAX_OUTLINE:
        raise ValueError(f"an outline of {outline:.0f} pixels; expected at most {MAX_OUTLINE}")
    codes = coco_masks.frPyObjects([polygon.ravel().tolist() for polygon in polygons], height, width)
    return _decompress(coco_masks.merge(codes)["counts"].decode())


def _listed(counts: Any) -> npt.NDArray[np.int64]:
    runs = (
        [whole(count) if not isinstance(count, str) else None for count in counts]
        if isinstance(counts, list)
        else []
    )
    if not runs or None in runs:
        raise ValueError(f"counts is {_short(counts)}; expected whole numbers, or text of a compressed code")
    return np.array(runs, np.int64)


def _decompress(text: str) -> npt.NDArray[np.int64]:
    """Run lengths of COCO's compressed text: 5 bits a character, low first; from the 4th on, differences.

    Source: rleFrString of cocoapi's maskApi.c.
    """
    characters = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int64) - 48
    if not len(characters) or characters.min() < 0 or characters.max() > 63 or characters[-1] & 32:
        raise ValueError("the compressed run lengths are empty, cut off or have characters that none has")
    last = np.flatnonzero((characters & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > _MOST_CHARACTERS:
        raise ValueError("the compressed run lengths have a number that is too large")
    place = np.arange(len(characters)) - np.repeat(first, lengths)
    numbers = np.add.reduceat((characters & 31) << (5 * place), first)
    negative = (characters[last] & 16) > 0
    numbers -= negative.astype(np.int64) << (5 * lengths)
    # Each number from the 4th on is added to the one two before it.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
