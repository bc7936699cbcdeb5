"""Rules for the values of a configuration beyond their types; they stand beside a field's default."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass
from typing import Any

from pisam.core.errors import nearest
from pisam.core.files import is_possible_path

LARGEST = 10**12  # of any number; larger ones overflow somewhere


@dataclass(frozen=True)
class Rule:
    """A condition of a value."""

    expected: str  # what it should be, as it ends an error message and stands in the reference
    holds: Callable[[Any], bool]  # True for a value that fulfils it; null is never asked about
    choices: Callable[[], Iterable[Any]] | None = None  # the values, where they can be listed
    each: bool = False  # True to ask it of each item of a list
    is_path: bool = False  # True where `~` stands for the home folder

    def message(self, value: Any) -> str:
        """The expected value, with the nearest choice."""
        if self.choices is None:
            return self.expected
        choices = list(self.choices())
        return f"one of {', '.join(map(str, choices))}{nearest(value, choices)}"


def key(default: Any, help: str, *rules: Rule, of_pi: bool = False) -> Any:
    """A field of the schema.

    Args:
        default: its value where nothing sets it; a list or a section is copied.
        help: one line for the reference.
        rules: what it may hold, the first that fails is named.
        of_pi: it means nothing to HQ-SAM.
    """
    metadata = {"help": help, "rules": rules, "of_pi": of_pi}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def one_of(*choices: Any) -> Rule:
    """Choices that are known here."""
    return Rule(f"one of {', '.join(map(str, choices))}", lambda value: value in choices, lambda: choices)


def named_in(table: Callable[[], Iterable[str]], default: str) -> Rule:
    """The names of a table that stands beside the code; it is looked up where a value is not the default."""
    return Rule("one of a table", lambda value: value == default or value in table(), table)


def at_least(low: float) -> Rule:
    """A finite number that is not smaller."""
    return Rule(f"a number >= {low}", lambda value: low <= value < math.inf)


def between(low: float, high: float) -> Rule:
    """A number from `low` to `high`, both allowed."""
    return Rule(f"a number from {low} to {high}", lambda value: low <= value <= high)


def positive(what: str = "a positive number", at_most: float = LARGEST) -> Rule:
    """A finite number above 0."""
    return Rule(what, lambda value: 0 < value <= at_most)


def each(expected: str, holds: Callable[[Any], bool]) -> Rule:
    """A condition of each item of a list."""
    return Rule(expected, holds, each=True)


def matching(pattern: str, expected: str) -> Rule:
    """A text that a regular expression describes."""
    return Rule(expected, lambda value: re.fullmatch(pattern, value) is not None)


def _is_local(value: str) -> bool:
    return re.match(r"[A-Za-z][\w+.-]+://", value) is None


PATH = Rule("a path of at most 255 names of at most 255 bytes", is_possible_path, is_path=True)
LOCAL = Rule("a local file or folder, not a URL: download it first", _is_local)

Wrong = tuple[str, Any, str]


def key_name(name: str) -> str:
    """The YAML key of a field: `from` is a Python keyword, so its field ends in an underscore."""
    return name.rstrip("_")


def walk(section: Any, prefix: str = "") -> Iterator[tuple[str, Field, Any]]:
    """Every dotted key below `prefix`, field and value, as in the schema, a section before its keys."""
    for f in fields(section):
        name, value = f"{prefix}{key_name(f.name)}", getattr(section, f.name)
        yield name, f, value
        if is_dataclass(value):
            yield from walk(value, f"{name}.")


def wrong_values(config: Any) -> Iterator[Wrong]:
    """Every value that no run could use, as (dotted key, value, what was expected); types are right."""
    for name, f, value in walk(config):
        if value is None:
            continue
        for rule in f.metadata["rules"]:
            for item in value if rule.each else [value]:
                if not rule.holds(item):
                    shown = asdict(item) if is_dataclass(item) and not isinstance(item, type) else item
                    yield name, shown, rule.message(item)
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and abs(number) > LARGEST:
                yield name, number, f"a number of at most {LARGEST:.0e}"


def expectations(rules: Sequence[Rule]) -> str:
    """The rules of a field in a few words, for the reference."""
    return "; ".join(", ".join(map(str, r.choices())) if r.choices else r.expected for r in rules)
