"""Numbers that callers give, and names of sets, are refused by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pisam.core.checks import check_number, refuse_reserved
from pisam.core.errors import PisamError


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


WRONG = [
    ".",
    "..",
    "a/b",
    "../a",
    "/a",
    "a\\b",
    "a\0",
    "a\nb",
    "",
    " ",
    " a",
    "a ",
    ".a",
    "x" * 201,
    "\ud800",
    "pooled",
]


@pytest.mark.parametrize("name", WRONG)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(PisamError, match="data row: ") as caught:
        refuse_reserved(name, "data row")
    assert "choose another" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["DIS5K-TE1", "a.b", "été", "a b#1", "x" * 200, "a..b", "=1+1"])
def test_names_of_folders_are_names(name: str) -> None:
    refuse_reserved(name, "data row")
