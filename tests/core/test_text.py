"""Text of others: no terminal is told anything by it, and a line stays one."""

from __future__ import annotations

import io

import pytest

from pisam.core.text import LONGEST_LINE, Printable, escaped, one_line

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
