"""Numbers as a page shows and sorts them."""

from __future__ import annotations

import math

import pytest

from pisam.report.tables import Cell, number_cell


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("iou_before", 0.5, "0.500"),
        ("iou_gain", 0.0312, "+0.031"),
        ("labels_exchanged", -0.0312, "−0.031"),
        ("mae_gain", -0.0001, "+0.000"),
        ("hce", 1433.26, "1433.3"),
        ("hce_gain", -12.0, "−12.0"),
        ("noc_90", 7.0, "7"),
        ("noc_90", 7.25, "7.2"),
        ("images", 57, "57"),
        ("seconds_per_click", 0.1234, "0.12"),
    ],
)
def test_a_number_is_shown_as_its_column_wants_and_sorted_by_its_value(
    column: str, value: float, text: str
) -> None:
    assert number_cell(column, value) == Cell(text, float(value))


@pytest.mark.parametrize("value", [None, math.nan])
def test_no_number_is_a_dash_and_sorted_by_none(value: float | None) -> None:
    assert number_cell("collateral", value) == Cell("–", None)
