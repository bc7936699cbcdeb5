"""The object of a pair, whatever says which it is: a mask, an id in it, a component of it, an annotation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pisam.data.image_files import SIXTEEN_BIT_MODES, load_upright
from pisam.data.pairs import Pair
from pisam.data.reading import BoolArray, UInt8Array, open_mask, read_coverage, read_mask
from pisam.data.reduction import reduce_mask
from pisam.errors import PisamError


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
        target = label_components(read_mask(pair.mask)) == pair.instance
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
    return target.shape, partial(reduce_mask, target)


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


def label_components(mask: BoolArray) -> npt.NDArray[np.int32]:
    """Number of the 8-connected component of each pixel (H, W), from 1 in the order of their first pixel."""
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    # OpenCV numbers them in an order of its own; a component's name must not depend on that.
    numbers, first = np.unique(labels, return_index=True)
    place = np.zeros(len(numbers), np.int32)
    place[[number for _, number in sorted(zip(first, numbers, strict=True)) if number]] = np.arange(
        1, len(numbers)
    )
    return place[labels]
