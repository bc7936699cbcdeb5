"""Checks of the plain arguments that Python callers give; the configuration checks its keys by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real


def check_number(
    name: str, value: object, low: float, high: float = math.inf, *, whole: bool = False
) -> None:
    """Refuse what is no number from `low` to `high`, both allowed; infinity and NaN are none.

    Raises:
        ValueError: names the argument.
    """
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
