"""Rows of numbers, one per image: their means, their file and their table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pisam.config.rules import LARGEST
from pisam.core.errors import PisamError
from pisam.core.files import replacing, with_an_end
from pisam.core.terminal import escaped

Row = dict[str, str | int | float]
TableLine = Sequence[str | int | float | None]
DIGITS = 6
ANY_BYTES = "surrogateescape"  # names of files may be of any
WHEN = ("before", "after", "gain")
TEXTS = ("set", "image", "model", "protocol")  # columns that hold no numbers
RENAMED = {
    "clicked_flipped": "obeyed",
    "iou_gain_flipped": "labels_exchanged",
    "iou_gain_random": "random_places",
}
"""Names of columns in results of earlier versions, and today's."""
FORMULA = (*"=+-@\t\r\n'", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes a text for that begins so; the last four are the wide forms of the first."""


def column_mean(rows: Iterable[Mapping[str, Any]], column: str) -> float | None:
    """The mean of a column over the rows that have a number there; None where none has."""
    values = [value for row in rows if not math.isnan(value := float(row[column]))]
    return math.fsum(values) / len(values) if values else None


def groups_by(rows: Iterable[Row], *columns: str) -> dict[Any, list[Row]]:
    """The rows of each value of a column, or of each tuple of several, in the order of first occurrence."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        values = tuple(row[column] for column in columns)
        groups.setdefault(values if len(columns) > 1 else values[0], []).append(row)
    return groups


def changes(before: Mapping[str, float], after: Mapping[str, float], scores: Iterable[str]) -> Row:
    """`SCORE_before`, `SCORE_after` and `SCORE_gain`, after less before, of each of some scores."""
    return {
        f"{score}_{what}": value
        for score in scores
        for what, value in zip(WHEN, (before[score], after[score], after[score] - before[score]), strict=True)
    }


def write_csv(rows: Sequence[Row], path: Path, columns: Sequence[str] = ()) -> None:
    """Rows as CSV, six digits after the point, NaN or nothing as an empty cell; whole or not at all.

    A text that a spreadsheet would run as a formula begins with an apostrophe, which `read_csv` takes away.

    Args:
        rows: any number of them where `columns` are given.
        path: the file.
        columns: in their order; those of the first row where none are given.

    Raises:
        ValueError: neither row nor columns.
    """
    if not rows and not columns:
        raise ValueError(f"{path}: expected at least one row, got none")
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors=ANY_BYTES, newline="") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=columns or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({column: _cell(value) for column, value in row.items()} for row in rows)


def read_csv(path: Path, needed: Sequence[str] = ("set", "image")) -> list[Row]:
    """The rows of `write_csv`: texts under `TEXTS`, numbers elsewhere, an empty cell as NaN.

    Columns of earlier versions come under today's names.

    Raises:
        PisamError: not readable, without the `needed` columns, or with something else than finite numbers
            under the others; names the file.
    """
    try:
        with with_an_end(path).open(encoding="utf-8", errors=ANY_BYTES, newline="") as file:
            head, *lines = csv.reader(file, strict=True)
        columns = ["click_seed" if name == "seed" else RENAMED.get(name, name) for name in head]
        if not {*needed} <= {*columns} or len({*columns}) < len(columns) or not lines:
            raise ValueError(f"expected columns {', '.join(needed)} and others, each once, and a row or more")
        return [_read_row(columns, line) for line in lines]
    except (OSError, ValueError, csv.Error) as error:
        raise PisamError(f"{path}: not readable as a table of numbers: {error!s:.200}") from error


def text_table(lines: Sequence[TableLine]) -> str:
    """Cells in right-aligned columns, numbers with three digits after the point, None as a dash."""
    cells = [[_shown(value) for value in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells
    )


def _read_row(head: Sequence[str], line: Sequence[str]) -> Row:
    row: Row = {
        name: _text(cell) if name in TEXTS else float(cell or math.nan)
        for name, cell in zip(head, line, strict=True)
    }
    if any(isinstance(value, float) and abs(value) > LARGEST for value in row.values()):
        raise ValueError(f"a number beyond {LARGEST:.0e}")
    return row


def _text(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell


def _cell(value: str | int | float) -> str | int | float:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else round(value, DIGITS)


def _shown(value: str | int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else escaped(str(value))
