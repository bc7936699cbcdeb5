"""Numbers that Python callers give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pisam.core.checks import check_number


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(1), np.int64(0)])
def test_numbers_of_a_range_pass(value: Any) -> None:
    check_number("share", value, 0, 1)


@pytest.mark.parametrize("value", [-1, 1.01, math.nan, math.inf, "1", None, True, [1], 10**400])
def test_others_are_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match="share: expected a number from 0 to 1, got") as error:
        check_number("share", value, 0, 1)
    assert len(str(error.value)) < 100
    with pytest.raises(ValueError, match="count: expected a whole number from 2 up, got"):
        check_number("count", 1.0 if value == 10**400 else value, 2, whole=True)
