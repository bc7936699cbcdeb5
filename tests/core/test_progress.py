"""Progress is a bar on a terminal, a line now and then in a log, and silent on other ranks."""

from __future__ import annotations

import io

import pytest
from tqdm import tqdm

from pisam.core import progress as module
from pisam.core.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def count(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, *, shown: bool = True) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    with progress(3, "images", shown=shown) as bar:
        for number in range(3):
            bar.set_description_str(f"image {number + 1} of 3", refresh=False)
            bar.update()
    return stream.getvalue()


def test_a_log_has_whole_lines_of_what_is_done_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0)
    lines = count(io.StringIO(), monkeypatch).splitlines()
    assert "image 1 of 3: 33 %, 00:00 passed, 00:00 left" in lines
    assert lines[-1] == "image 3 of 3: 100 %, 00:00 passed, 00:00 left"
    assert all(line.strip() == line != "" for line in lines)


def test_a_log_has_no_cursor_moves_where_another_bar_was_never_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0)
    left_open = tqdm(total=1, file=io.StringIO())
    assert "\x1b" not in count(io.StringIO(), monkeypatch)
    left_open.close()


def test_what_is_done_at_once_leaves_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count(io.StringIO(), monkeypatch) == ""


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = count(Terminal(), monkeypatch)
    assert "images:   0%|" in drawn and "0/3" in drawn and "\r" in drawn


def test_other_ranks_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0)
    for stream in (io.StringIO(), Terminal()):
        assert count(stream, monkeypatch, shown=False) == ""
