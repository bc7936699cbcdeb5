"""Names of data sets become folders and files: what leads elsewhere is refused."""

from __future__ import annotations

import pytest

from pisam.core.errors import PisamError
from pisam.core.set_names import refuse_reserved

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
