"""Checks of the plain arguments that Python callers give, and of the names of data sets and sweeps."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from numbers import Integral, Real

from pisam.core.errors import PisamError
from pisam.core.files import is_encodable


def check_number(
    name: str, value: object, low: float, high: float = math.inf, *, whole: bool = False
) -> None:
    """Raise ValueError for what is no number from `low` to `high`, both allowed; nor are infinity and NaN."""
    fits = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not (fits and low <= value < math.inf and value <= high):  # type: ignore[operator]
        kind = "a whole number" if whole else "a number"
        most = f" to {high:g}" if high < math.inf else " up"
        raise ValueError(f"{name}: expected {kind} from {low:g}{most}, got {value!r:.40}")


def is_increasing_pair(value: object) -> bool:
    """True of two finite positive numbers, the first the smaller."""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        return False
    return all(isinstance(each, Real) for each in value) and 0 < value[0] < value[1] < math.inf


POOLED = "pooled"  # among keys
ALL_IMAGES = "all images"  # among the rows of a table

MOST_BYTES = 200  # of a name: file systems allow 255, and suffixes follow


def refuse_reserved(name: str, where: str) -> None:
    """Raise PisamError, begun with `where`, for a set's name that scores use or that no folder can have."""
    if name in (POOLED, ALL_IMAGES):
        raise PisamError(f"{where}: {name} means the images of all sets together; choose another name")
    refuse_no_folder(name, where)


def refuse_no_folder(name: str, where: str) -> None:
    """Raise PisamError, begun with `where`, for a name that no folder can have or that leads elsewhere."""
    harmful = next((part for part in ("/", "\\", "\0", "\n", "\r") if part in name), None)
    if harmful is not None:
        raise PisamError(f"{where}: name is {name!r}, expected a text without {harmful!r}; choose another")
    too_long = not is_encodable(name) or len(os.fsencode(name)) > MOST_BYTES
    if not name.strip() or name != name.strip() or name.startswith(".") or too_long:
        raise PisamError(
            f"{where}: name is {name[:40]!r}, expected the name of a folder: not empty, no dot first, no "
            f"blank at an end, at most {MOST_BYTES} bytes; choose another"
        )
