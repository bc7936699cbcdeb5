"""YAML of anybody's is a value or one line, within bounds."""

from __future__ import annotations

import pytest

from pisam.core.errors import PisamError
from pisam.core.yaml_text import parse_texts, parse_yaml

BOMB = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 60_000, "nested too deeply"),
        ("a: &a {x: *a}", "nested too deeply"),
        (BOMB, "more than 10000 values"),
        ("# " + "x" * 70_000, "larger than 64 kB"),
        ("a: 1\nb: {c: 1, c: 2}", "line 2: c is there twice"),
        ("a: [", "not readable as YAML"),
        ("a: 1\n? [b]\n: 2", "line 2: a key is a list or has keys"),
        ("- {? {b: 1} : 2}", "line 1: a key is a list or has keys"),
        ('a: "x\\ud800"', "ud800' has a character that no text holds"),
        ('"\\ud800": 1', "has a character that no text holds"),
        ("a: \0", "not readable as YAML"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_hostile_is_one_line(text: str, message: str) -> None:
    with pytest.raises(PisamError, match=f"^x.yaml: .*{message}") as error:
        parse_yaml(text, "x.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("0123", 123), ("12:30", "12:30"), ("0x10", "0x10"), ("2026-11-26", "2026-11-26")],
)
def test_numbers_are_decimal_and_the_rest_is_text(text: str, value: object) -> None:
    assert parse_yaml(text, "x") == value


def test_items_of_a_list_are_text_as_it_was_typed() -> None:
    assert parse_texts("[20261126_1530, 0123,'a b', null]", "x") == ["20261126_1530", "0123", "a b", "null"]
    for text in ("[{a: 1}]", "[[a]]", "a", "[", ""):
        with pytest.raises(PisamError, match=r"^x: got .*, expected names or paths as"):
            parse_texts(text, "x")
