"""Nothing that others wrote moves a cursor; progress in lines of a log; libraries are quiet."""

from __future__ import annotations

import io
import logging
import warnings

import pytest
from tqdm import tqdm

from pisam.core import terminal as module
from pisam.core.terminal import (
    LIGHTNINGS_TIPS,
    LONGEST_LINE,
    VERBOSE,
    Printable,
    escaped,
    one_line,
    progress,
    quiet,
)

TITLE = "\x1b]0;mine\x07\x1b[2J"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bl\u00e4tter \u2022 \U0001f33f", "bl\u00e4tter \u2022 \U0001f33f"),
        (f"{TITLE}x", "\\x1b]0;mine\\x07\\x1b[2Jx"),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\udcff\x9b\u202e", "\\udcff\\x9b\\u202e"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected


def test_a_message_is_one_line_of_bounded_length() -> None:
    assert one_line("a\n\n b\x1b") == "a b\\x1b"
    line = one_line("begin " + "\x1b" * 100_000 + " end")
    assert (
        line.startswith("begin ") and " ... " in line and line.endswith(" end") and len(line) < LONGEST_LINE
    )


def test_a_stream_keeps_lines_and_is_otherwise_the_other_one() -> None:
    other = io.StringIO()
    print(f"{TITLE}one", "two", sep="\n", file=Printable(other), flush=True)
    assert other.getvalue() == "\\x1b]0;mine\\x07\\x1b[2Jone\ntwo\n"
    assert not Printable(other).isatty()


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


def warned() -> list[str]:
    """The warnings that come through, out of advice and deprecations of two packages."""
    with warnings.catch_warnings(record=True) as caught:
        quiet()
        for module in ("lightning.pytorch.trainer", "torch.nn", "pisam.data"):
            for category in (UserWarning, DeprecationWarning):
                warnings.warn_explicit("x", category, f"{module}.py", 1, module=module, registry={})
        return [f"{w.filename} {w.category.__name__}" for w in caught]


def test_advice_of_others_is_quiet_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VERBOSE, raising=False)
    monkeypatch.setenv("WANDB_QUIET", "true")
    levels = {name: logging.getLogger(name).level for name in LIGHTNINGS_TIPS}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            assert warned() == [
                "torch.nn.py UserWarning",
                "pisam.data.py UserWarning",
                "pisam.data.py DeprecationWarning",
            ]
            assert all(logging.getLogger(name).level == logging.WARNING for name in LIGHTNINGS_TIPS)
            monkeypatch.setenv(VERBOSE, "1")
            assert len(warned()) == 6
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
