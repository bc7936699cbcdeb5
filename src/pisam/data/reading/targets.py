"""The object of a pair, whatever defines it: a mask, an id in it, a component of it, an annotation."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pisam.core.errors import PisamError
from pisam.core.types import BoolArray, UInt8Array
from pisam.data.reading.image_files import load_picture
from pisam.data.reading.reader import (
    Reduce,
    binarise,
    check_sizes,
    open_mask,
    read_coverage,
    read_image,
    reduce_mask,
)
from pisam.data.reading.values import OBJECT_ABOVE, Values, refuse_unstated_index, take_out
from pisam.data.sources.pairs import Pair


class Target(NamedTuple):
    """The truth of a pair."""

    coverage: UInt8Array  # uint8 (H, W), 255 = all of the pixel is object; some pixel exceeds 127
    # bool (H, W), pixels of which nothing is said, none of them object; None = there is none
    ignored: BoolArray | None

    @property
    def mask(self) -> BoolArray:
        """The object, bool (H, W)."""
        object_: BoolArray = self.coverage > OBJECT_ABOVE
        return object_


def read_labels(pair: Pair) -> Target:
    """The object of a pair and what is ignored beside it.

    Raises:
        PisamError: as `read_mask`, or the pair's instance is not there any more.
    """
    ignored = None
    if pair.shapes is not None:
        target = pair.shapes.mask(pair.instance)
    elif pair.ids:
        ids, ignored = _ids(pair.mask, pair.ignore)
        target = ids > 0 if pair.instance is None else ids == pair.instance
    else:
        coverage, ignored = read_coverage(pair.mask, pair.ignore)
        target = binarise(coverage, pair.mask)
        if pair.instance is None:
            return Target(coverage, ignored)
        target = component(target, pair.instance)
    if not target.any():
        which = "object" if pair.instance is None else f"instance {pair.instance}"
        raise PisamError(f"{pair.mask}: no pixel of {which} for {pair.image}; mend it or take the pair out")
    return Target(target.view(np.uint8) * np.uint8(255), ignored)


def read_pair(pair: Pair) -> tuple[UInt8Array, Target]:
    """The image, uint8 (H, W, 3) RGB, and the truth of a pair, of one size.

    Sizes are compared before annotations are drawn: a file may claim any frame.

    Raises:
        PisamError: as `read_image` and `read_labels`, or two sizes.
    """
    image = read_image(pair.image)
    if pair.shapes is not None:
        check_sizes(pair.image, image.shape, pair.mask, (pair.shapes.height, pair.shapes.width))
    labels = read_labels(pair)
    check_sizes(pair.image, image.shape, pair.mask, labels.coverage.shape)
    return image, labels


def open_target(pair: Pair) -> tuple[tuple[int, int], Reduce, Reduce | None]:
    """(H, W), and `reduce_mask` by 1, 2, 4 or 8 of the object and of what is ignored; as `read_labels`."""
    if pair.shapes is None and not pair.ids and pair.instance is None and pair.ignore is None:
        return *open_mask(pair.mask), None
    labels = read_labels(pair)
    target = labels.mask
    ignored = None if labels.ignored is None else partial(reduce_mask, labels.ignored)
    return (target.shape[0], target.shape[1]), partial(reduce_mask, target), ignored


def read_ids(path: Path, ignore: int | None = None) -> Values:
    """The object ids (H, W) of an instance mask: palette indices, or the grey values themselves; 0 = none.

    Raises:
        PisamError: as `read_mask`, or a file with colours in place of ids.
    """
    return _ids(path, ignore)[0]


def _ids(path: Path, ignore: int | None) -> tuple[Values, BoolArray | None]:
    """Ids, and where the file has the ignored value."""
    picture = load_picture(path)
    if picture.image.mode not in ("L", "P") and (picture.wide is None or picture.wide.ndim > 2):
        raise PisamError(
            f"{path}: pixels of kind {picture.image.mode}; expected one id per pixel, as grey values or "
            "palette indices; save it so, or drop ids from the row"
        )
    values: Values = np.array(picture.image) // picture.step if picture.wide is None else picture.wide
    refuse_unstated_index(np.unique(values), path, ignore)
    return take_out(values, ignore)


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
