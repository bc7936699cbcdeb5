"""The object of a pair, whatever says which it is: a mask, an id in it, a component of it, an annotation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pisam.core.errors import PisamError
from pisam.core.types import BoolArray, UInt8Array
from pisam.data.reading.image_files import SIXTEEN_BIT_MODES, load_upright
from pisam.data.reading.reader import open_mask, read_coverage, read_mask
from pisam.data.reading.reduction import reduce_mask
from pisam.data.sources.pairs import Pair


def read_target(pair: Pair) -> BoolArray:
    """The object of a pair: bool (H, W), not empty.

    Raises:
        PisamError: as `read_mask`, or the pair's instance is not there any more.
    """
    if pair.shapes is not None:
        target = pair.shapes.mask(pair.instance)
    elif pair.ids:
        ids = read_ids(pair.mask)
        target = ids > 0 if pair.instance is None else ids == pair.instance
    elif pair.instance is None:
        return read_mask(pair.mask)
    else:
        target = component(read_mask(pair.mask), pair.instance)
    if not target.any():
        which = "object" if pair.instance is None else f"instance {pair.instance}"
        raise PisamError(f"{pair.mask}: no pixel of {which} for {pair.image}; mend it or take the pair out")
    return target


def target_coverage(pair: Pair) -> UInt8Array:
    """How much of each pixel is object: uint8 (H, W), 255 = all. Only masks have more than two values.

    Raises:
        PisamError: as `read_target`.
    """
    if pair.shapes is None and not pair.ids and pair.instance is None:
        return read_coverage(pair.mask)
    return read_target(pair).view(np.uint8) * np.uint8(255)


def open_target(pair: Pair) -> tuple[tuple[int, int], Callable[[int], UInt8Array]]:
    """(H, W) and a function that gives `reduce_mask` of the object for 1, 2, 4 or 8.

    Raises:
        PisamError: as `read_target`.
    """
    if pair.shapes is None and not pair.ids and pair.instance is None:
        return open_mask(pair.mask)
    target = read_target(pair)
    height, width = target.shape
    return (height, width), partial(reduce_mask, target)


def read_ids(path: Path) -> npt.NDArray[np.integer]:
    """The object ids (H, W) of an instance mask: palette indices, or the grey values themselves; 0 = none.

    Raises:
        PisamError: as `read_mask`, or a file with colours in place of ids.
    """
    image = load_upright(path)
    if image.mode not in ("L", "P", *SIXTEEN_BIT_MODES):
        raise PisamError(
            f"{path}: pixels of kind {image.mode}; expected one id per pixel, as grey values or palette "
            "indices; save it so, or drop ids from the row"
        )
    return np.array(image)


def component(mask: BoolArray, number: int) -> BoolArray:
    """One 8-connected component (H, W), counted from 1 in the order of their first pixels; or nothing."""
    labels, ordered = _components(mask)
    target: BoolArray = labels == ordered[number - 1][0] if number <= len(ordered) else labels < 0
    return target


def component_areas(mask: BoolArray) -> dict[int, int]:
    """Pixels of each component, by its number as in `component`."""
    _, ordered = _components(mask)
    return {number: area for number, (_, area) in enumerate(ordered, start=1)}


def _components(mask: BoolArray) -> tuple[npt.NDArray[np.int32], list[tuple[int, int]]]:
    """OpenCV's labels (H, W), and (label, area) of each component in the order of their first pixels.

    OpenCV numbers them in an order of its own; a component's name must not depend on that.
    """
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    found = []
    for label in range(1, count):
        left, top, width, _, area = boxes[label].tolist()
        first = left + int((labels[top, left : left + width] == label).argmax())
        found.append((top, first, label, area))
    return np.asarray(labels, np.int32), [(label, area) for _, _, label, area in sorted(found)]
