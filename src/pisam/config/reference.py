"""A reference of every configuration key, made from the schema: `python -m pisam.config.reference > FILE`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, NamedTuple

from pisam.config.load import KINDS, OPTIONAL_SECTIONS
from pisam.config.rules import expectations, walk
from pisam.config.schema import Config


class Entry(NamedTuple):
    """A key: its dotted name, its default as YAML writes it, what it may hold, a line of help."""

    key: str
    default: str
    expected: str
    help: str


def entries() -> Iterator[Entry]:
    """Every key in the order of the schema, a section before what is below it."""
    for key, f, value in walk(Config()):
        kind = str(f.type).removesuffix(" | None")
        rules = expectations(f.metadata["rules"]) or KINDS.get(kind, ("",))[0]
        if is_dataclass(value):
            yield Entry(key, "", "", f.metadata["help"])
        else:
            expected = "keys as below data.prompts" if str(f.type) in OPTIONAL_SECTIONS else rules
            yield Entry(key, as_yaml(value), expected, f.metadata["help"])


def as_yaml(value: Any) -> str:
    """A value on one line, as a file would hold it."""
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


def markdown() -> str:
    """The reference as a page."""
    lines = [
        "# Configuration",
        "",
        "Every key that an experiment's file or a `key=value` argument may set. Made from the schema by",
        "`python -m pisam.config.reference > docs/configuration.md`. `pisam config EXPERIMENT` prints what",
        "an experiment sets, and where each value comes from. Text is taken as it was typed; `~/` at the",
        "beginning of a path is the home folder.",
    ]
    header = ["", "| key | default | values | |", "|---|---|---|---|"]
    top = True
    for entry in entries():
        section = not entry.expected
        if section and entry.key.count(".") == 0:
            lines += ["", f"## {entry.key}", "", f"{entry.help[0].upper()}{entry.help[1:]}.", *header]
        elif top:
            lines += header
        top = False
        if not section:
            default, values, help_ = (text.replace("|", "\\|") for text in entry[1:])
            lines.append(f"| `{entry.key}` | `{default}` | {values} | {help_} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
