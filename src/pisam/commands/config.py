"""Print the configuration of an experiment, and where each of its values comes from.

    pisam config [EXPERIMENT] [keys=true] [key=value ...]

What is printed is an experiment's file itself.

group: Set up
keys=true|false: print every key there is instead, with its default, what it may hold and what it means
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass

from pisam.commands.shared.command import DEFAULT_EXPERIMENT, Arguments
from pisam.config.load import Origin, load_with_origins
from pisam.config.reference import as_yaml, entries
from pisam.config.rules import walk
from pisam.config.schema import Config


def run(arguments: Arguments) -> None:
    """Print the resolved configuration, or the reference of keys."""
    if arguments.own.get("keys") == "true":
        for entry in entries():
            values = f" = {entry.default}  ({entry.expected})" if entry.expected else ""
            print(f"{entry.key}{values}\n    {entry.help}")
        return
    experiment = arguments.experiment or DEFAULT_EXPERIMENT
    config, origins = load_with_origins(experiment, arguments.overrides)
    lines = list(_lines(config, origins))
    width = min(60, max(len(line) for line, _ in lines))
    for line, origin in lines:
        print(f"{line:<{width}}  # {origin}" if origin else line)


def _lines(config: Config, origins: dict[str, Origin]) -> Iterator[tuple[str, str]]:
    for key, _, value in walk(config):
        indent, name = "  " * key.count("."), key.rpartition(".")[2]
        if is_dataclass(value):
            yield f"{indent}{name}:", ""
        else:
            yield f"{indent}{name}: {as_yaml(value)}", str(origins.get(key, "default"))
