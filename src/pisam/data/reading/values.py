"""The meaning of the values of a mask, decided here for every kind of file and every reader.

docs/data.md has the rules as a table. A value is what a file holds of a pixel before anything is decided:
grey, the largest channel of colour, or an index of a palette.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pisam.core.errors import PisamError
from pisam.core.types import BoolArray, UInt8Array

Values = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

OBJECT_ABOVE = 127  # of coverage in 0 .. 255
NOTHING_IGNORED = -1  # stated, where None says that nothing was stated

# The 8-bit value of each 16-bit one.
_OF_SIXTEEN_BITS = ((np.arange(65536, dtype=np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
_USUAL_IGNORE = [2**bits - 1 for bits in range(8, 17)]
_REMEDY = (
    "save the mask as 0/255, or, where it belongs to a row of data, say ignore: {0} in that (false if {0} is "
    "object)"
)


class Coverage(NamedTuple):
    """A mask as it was read, before it is cut in half."""

    values: UInt8Array  # uint8 (H, W), how much of a pixel is object, 255 = all
    # bool (H, W), pixels of the value that is declared to say nothing; None = there is none
    ignored: BoolArray | None = None


def to_eight_bits(values: Values, highest: int = 65535) -> UInt8Array:
    """Values of up to 16 bits by their full range, 0 to `highest`, or as they are where none exceeds 255."""
    if values.dtype == np.uint8 or values.max(initial=0) <= 255:
        return values.astype(np.uint8, copy=False)
    return _OF_SIXTEEN_BITS[values.astype(np.uint32) * 65535 // highest if highest < 65535 else values]


def to_coverage(
    values: Values, path: Path, ignore: int | None = None, step: int = 1, highest: int = 65535
) -> Coverage:
    """Coverage from grey values.

    Args:
        values: uint8 or uint16 (H, W).
        path: of the file, for errors.
        ignore: the value that says nothing, `NOTHING_IGNORED`, or None where neither was stated.
        step: what the file's value 1 is among `values`, see `Picture`.
        highest: as in `to_eight_bits`.

    Raises:
        PisamError: a value that may be either object or ignored, and which of them was not stated.
    """
    values, ignored = take_out(values, ignore, step)
    threshold = object_above(np.flatnonzero(histogram(values)), path, ignore, step)
    if threshold < OBJECT_ABOVE:
        return Coverage((values > threshold) * np.uint8(255), ignored)
    return Coverage(to_eight_bits(values, highest), ignored)


def take_out(values: Values, ignore: int | None, step: int = 1) -> tuple[Values, BoolArray | None]:
    """The values with 0 in place of the ignored one, and where it was; None where nothing is ignored."""
    if ignore is None or ignore == NOTHING_IGNORED:
        return values, None
    ignored: BoolArray = values == min(ignore * step, 65536)
    return np.where(ignored, values.dtype.type(0), values), ignored


def object_above(
    present: npt.NDArray[np.integer], path: Path, ignore: int | None = None, step: int = 1
) -> int:
    """The threshold above which a value is object: 0 in a 0/1 file, else 127 of 255.

    `present` are the values that some pixel has, ascending; other arguments and errors as in `to_coverage`.
    """
    if present[-1] <= step:
        return 0
    highest, below = int(present[-1]), present[(present > 0) & (present < present[-1])]
    # 0/1 or class numbers beside a mark: of soft edges some would lie between the middle and the end.
    if ignore is None and highest in _USUAL_IGNORE and below.size and below[-1] <= highest // 2:
        some = ", ".join(map(str, below[:3] // step)) + (", ..." if below.size > 3 else "")
        raise PisamError(
            f"{path}: value {highest // step} beside {some} alone may mark what to ignore, or the object; "
            f"expected 0/1 or 0/255; {_REMEDY.format(highest // step)}"
        )
    return OBJECT_ABOVE


def refuse_unstated_index(present: npt.NDArray[np.integer], path: Path, ignore: int | None) -> None:
    """Raise PisamError for a palette or ids whose last index may be no object, where `ignore` was not stated.

    255 beside others may be none, but not beside 254.
    """
    highest = int(present[-1])
    others = present[(present > 0) & (present < highest)]
    if ignore is None and highest in _USUAL_IGNORE and others.size and others[-1] != highest - 1:
        raise PisamError(
            f"{path}: index {highest} beside others up to {others[-1]} may mark what to ignore, or an "
            f"object; expected to know which; {_REMEDY.format(highest)}"
        )


def histogram(values: Values) -> npt.NDArray[np.integer]:
    """The number of pixels (H, W) of each value."""
    size = 256 if values.dtype == np.uint8 else 65536
    return cv2.calcHist([np.ascontiguousarray(values)], [0], None, [size], [0, size]).ravel().astype(np.int64)
