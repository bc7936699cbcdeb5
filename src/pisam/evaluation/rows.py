"""Rows of numbers, one per image: their means, their file and their table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pisam.core.errors import PisamError
from pisam.core.files import replacing

Row = dict[str, str | int | float]
DIGITS = 6
TEXTS = ("set", "image", "model", "protocol")  # columns that hold no numbers


def column_mean(rows: Iterable[Mapping[str, Any]], column: str) -> float | None:
    """The mean of a column over the rows that have a number there; None where none has."""
    values = [value for row in rows if not math.isnan(value := float(row[column]))]
    return math.fsum(values) / len(values) if values else None


def rows_by_set(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each data set, sets in the order in which they first occur."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row["set"]), []).append(row)
    return groups


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Rows of equal columns as CSV, six digits after the point, NaN as an empty cell; whole or not at all.

    Raises:
        ValueError: no row, so the columns are not known.
    """
    if not rows:
        raise ValueError(f"{path}: expected at least one row, got none")
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({column: _cell(value) for column, value in row.items()} for row in rows)


def read_csv(path: Path) -> list[Row]:
    """The rows of `write_csv`: texts under `TEXTS`, numbers elsewhere, an empty cell as NaN.

    Raises:
        PisamError: not readable, or something else than numbers; names the file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *lines = csv.reader(file)
        return [_read_row(head, line) for line in lines]
    except (OSError, ValueError, csv.Error) as error:
        raise PisamError(f"{path}: not readable as a table of numbers: {error}") from error


def text_table(lines: Sequence[Sequence[str | int | float | None]]) -> str:
    """Cells in right-aligned columns, numbers with three digits after the point, None as a dash."""
    cells = [[_shown(value) for value in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells
    )


def _read_row(head: Sequence[str], line: Sequence[str]) -> Row:
    return {
        name: cell if name in TEXTS else float(cell or math.nan)
        for name, cell in zip(head, line, strict=True)
    }


def _cell(value: str | int | float) -> str | int | float:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else round(value, DIGITS)


def _shown(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
