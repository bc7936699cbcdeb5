"""A report takes the place of an earlier one as a whole, and of nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pisam.core.errors import PisamError
from pisam.report.write import refuse_foreign_folder, replacing_folder


def write(folder: Path, text: str) -> None:
    with replacing_folder(folder) as new:
        (new / "images" / "0001").mkdir(parents=True)
        (new / "images" / "0001" / "mask.png").write_text(text)
        (new / "index.html").write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


def test_a_new_report_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "report"
    for text in ("one", "two"):
        write(folder, text)
        assert contents(folder).keys() == {"images/0001/mask.png", "index.html", "report.json"}
        assert contents(folder)["images/0001/mask.png"] == text
        assert [path.name for path in folder.parent.iterdir()] == ["report"]


def test_a_report_that_fails_leaves_the_earlier_one_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "report", "one")
    before = contents(tmp_path)

    def fails() -> None:
        with replacing_folder(tmp_path / "report") as new:
            (new / "index.html").write_text("two")
            raise PisamError("a mask is damaged")

    with pytest.raises(PisamError, match="a mask is damaged"):
        fails()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("stranger", ["notes.txt", "images/0001/photo.jpg", ".hidden", "more/a.png"])
def test_what_no_report_consists_of_is_left_alone(tmp_path: Path, stranger: str) -> None:
    write(tmp_path / "report", "one")
    (tmp_path / "report" / stranger).parent.mkdir(exist_ok=True)
    (tmp_path / "report" / stranger).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(PisamError, match=f"holds {stranger}, which no report consists of"):
        write(tmp_path / "report", "two")
    assert contents(tmp_path) == before


def test_what_was_saved_there_meanwhile_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "report", "one")

    def slow() -> None:
        with replacing_folder(tmp_path / "report"):
            (tmp_path / "report" / "notes.txt").write_text("mine")

    with pytest.raises(PisamError, match=r"holds notes\.txt"):
        slow()
    assert contents(tmp_path / "report")["notes.txt"] == "mine"


@pytest.mark.parametrize("told", ["", "{}", "[]", '{"made_by": "me", "files": ["index.html"]}'])
def test_a_page_of_somebody_else_is_left_alone(tmp_path: Path, told: str) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("mine")
    (tmp_path / "report" / "report.json").write_text(told)
    with pytest.raises(PisamError, match="which no report consists of"):
        refuse_foreign_folder(tmp_path / "report")


@pytest.mark.parametrize("mine", ["thesis.docx", "images/0001/holiday.jpg", "../beside.png"])
def test_what_no_report_consists_of_is_left_alone_whatever_a_file_says(tmp_path: Path, mine: str) -> None:
    folder = tmp_path / "report"
    (folder / "images/0001").mkdir(parents=True)
    (folder / mine).write_text("mine")
    (folder / "report.json").write_text(
        json.dumps({"made_by": "pisam report", "files": ["report.json", mine]})
    )
    if mine.startswith(".."):
        write(folder, "one")
    else:
        with pytest.raises(PisamError, match=f"holds {mine}, which no report consists of"):
            write(folder, "one")
    assert (folder / mine).read_text() == "mine"


@pytest.mark.parametrize("files", ["[1]", '[["index.html"]]', "null", '{"a": 1}'])
def test_a_list_of_files_that_is_none_lists_nothing(tmp_path: Path, files: str) -> None:
    (tmp_path / "index.html").write_text("mine")
    (tmp_path / "report.json").write_text('{"made_by": "pisam report", "files": ' + files + "}")
    with pytest.raises(PisamError, match=r"holds index\.html"):
        refuse_foreign_folder(tmp_path)


def test_a_link_and_a_file_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(PisamError, match=f"{name} is no folder; move it away"):
            refuse_foreign_folder(tmp_path / name)


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    write(tmp_path / "report", "one")
    assert (tmp_path / "report" / "index.html").is_file()
