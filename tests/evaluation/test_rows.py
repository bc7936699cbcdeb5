"""Rows on disk and in print."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import pytest

import pisam
from pisam.core.errors import PisamError
from pisam.evaluation.rows import column_mean, groups_by, read_csv, text_table, write_csv


def test_csv_is_rounded_and_quoted_and_leaves_nan_empty(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    write_csv([{"set": "a,b", "clicks": 3, "iou": 1 / 3, "obeyed": math.nan}], path)
    assert path.read_text() == 'set,clicks,iou,obeyed\n"a,b",3,0.333333,\n'
    assert [file.name for file in path.parent.iterdir()] == ["rows.csv"]


def test_csv_without_rows_is_refused_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match=r"rows\.csv: expected at least one row"):
        write_csv([], path)
    assert path.read_text() == "old"


def test_csv_of_given_columns_may_have_no_row_or_rows_with_gaps(tmp_path: Path) -> None:
    for rows, text in (([], ""), ([{"image": "a"}, {"image": "b", "iou": 0.5}], "a,\nb,0.5\n")):
        write_csv(rows, tmp_path / "rows.csv", ("image", "iou"))  # type: ignore[arg-type]
        assert (tmp_path / "rows.csv").read_text() == f"image,iou\n{text}"


def test_rows_are_read_back_with_texts_numbers_and_nan(tmp_path: Path) -> None:
    rows = [
        {"model": "1", "set": "a,b", "image": '"é\n', "clicks": 3, "iou": 0.25, "obeyed": math.nan},
        {"model": "2", "set": "", "image": "007", "clicks": 0, "iou": 1.0, "obeyed": 0.5},
    ]
    write_csv(rows, tmp_path / "rows.csv")
    first, second = read_csv(tmp_path / "rows.csv")
    assert math.isnan(float(first.pop("obeyed"))) and first == {k: rows[0][k] for k in first}
    assert second == rows[1]


WRONG = [
    "set,image,iou\na,b,high\n",
    "set,image,iou\na,b,0.5,0.6\n",
    "set,image,iou\na\n",
    "set,image,iou\na,b,1e999\n",
    "set,image,iou,iou\na,b,1,2\n",
    "set,iou\na,1\n",
    "set,image,iou\n",
    "",
    "\0\xff",
    'set,image,iou\n"a,b,1\n',
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_table_of_numbers_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.csv").write_text(text, encoding="latin-1")
    with pytest.raises(PisamError, match=r"rows\.csv: not readable as a table of numbers"):
        read_csv(tmp_path / "rows.csv")
    with pytest.raises(PisamError, match=r"absent\.csv"):
        read_csv(tmp_path / "absent.csv")


def test_mean_skips_nan() -> None:
    rows = [{"x": 1.0}, {"x": math.nan}, {"x": 2}]
    assert column_mean(rows, "x") == 1.5
    assert column_mean(rows[1:2], "x") is None


def test_sets_keep_their_order() -> None:
    rows = [{"set": "b", "image": "1"}, {"set": "a", "image": "1"}, {"set": "b", "image": "2"}]
    assert {name: len(group) for name, group in groups_by(rows, "set").items()} == {"b": 2, "a": 1}
    assert list(groups_by(rows, "set")) == ["b", "a"]
    assert list(groups_by(rows, "set", "image")) == [("b", "1"), ("a", "1"), ("b", "2")]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\n=1", "\uff1d1", "'=1", "'", "a=1"]
)
def test_texts_that_a_spreadsheet_would_run_come_back_as_they_were(tmp_path: Path, text: str) -> None:
    rows = [{"set": text, "image": text, "iou": -0.5}]
    write_csv(rows, tmp_path / "rows.csv")
    cell = (tmp_path / "rows.csv").read_text().splitlines()[1]
    assert cell.lstrip('"').startswith("'" if text != "a=1" else text)
    assert read_csv(tmp_path / "rows.csv") == rows


def test_no_other_place_writes_a_table() -> None:
    """Or its texts would not be kept from spreadsheets."""
    package = Path(pisam.__file__).parent
    writer = re.compile(r"csv\.(Dict)?[wW]riter|to_csv")
    writers = [file for file in package.rglob("*.py") if writer.search(file.read_text())]
    assert [file.relative_to(package).as_posix() for file in writers] == ["evaluation/rows.py"]


def test_columns_of_earlier_versions_have_todays_names(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        "set,image,seed,iou_gain_flipped,iou_gain_random,clicked_flipped\na,b,0,1,2,3\n"
    )
    expected = {"click_seed": 0, "labels_exchanged": 1, "random_places": 2, "obeyed": 3}
    assert read_csv(tmp_path / "rows.csv") == [{"set": "a", "image": "b", **expected}]


def test_table_is_aligned() -> None:
    assert (
        text_table([["set", "IoU"], ["a", 0.12345], ["long", None]])
        == " set    IoU\n   a  0.123\nlong      -"
    )


def test_names_of_any_bytes_are_written_and_read(tmp_path: Path) -> None:
    write_csv([{"set": "s", "image": "a\udcff", "iou": 1.0}], tmp_path / "rows.csv")
    assert b"\ns,a\xff,1.0\n" in (tmp_path / "rows.csv").read_bytes()
    assert read_csv(tmp_path / "rows.csv") == [{"set": "s", "image": "a\udcff", "iou": 1.0}]


def test_a_name_stays_in_its_line_of_the_table() -> None:
    assert text_table([["model", "IoU"], ["a\nb\x1b[2J", 0.5]]) == "      model    IoU\na\\nb\\x1b[2J  0.500"


@pytest.mark.timeout(60)
def test_a_pipe_is_no_table(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(PisamError, match=r"rows\.csv: not readable as a table of numbers: it is a pipe"):
        read_csv(tmp_path / "rows.csv")
