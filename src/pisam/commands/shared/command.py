"""A verb of the command line, as the docstring of its module declares it, and the arguments it was given.

The docstring is the verb's help. Its first line is the summary; indented lines that begin with `pisam` are
the usage; `group: ...` says where `pisam --help` lists it; `key=VALUES: ...` explains an argument of its own.
`EXPERIMENT` in the usage stands for a configuration, `key=value` for changes to it.
"""

from __future__ import annotations

import ast
import os
import pkgutil
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pisam.core.errors import PisamError, nearest
from pisam.core.files import is_possible_path, local_path, refuse_blocked

if TYPE_CHECKING:
    from pisam.config.schema import Config

DEFAULT_EXPERIMENT = "quickstart"
OVERRIDES = "key=value"
EXPERIMENT_HELP = """EXPERIMENT: a name in experiments/ or the path of a YAML file (default: quickstart).
key=value: changes to it, for example stage1.lr=3e-4; `pisam config` lists the keys."""


@dataclass(frozen=True)
class Command:
    """The arguments that a verb takes, as its file declares them."""

    name: str  # as it is typed
    module: str  # where its `run` is
    help: str  # its docstring, without the group
    group: str  # the heading that it is listed under
    usage: str  # what follows the name in its first form
    # arguments of its own, with the values they take: `1|2`, `N` for a whole number, or any word
    keys: dict[str, str]

    @property
    def summary(self) -> str:
        """The first line of the help, as a list shows it."""
        first = self.help.splitlines()[0].rstrip(".")
        return first[0].lower() + first[1:]

    @property
    def takes_experiment(self) -> bool:
        """True where a configuration is read."""
        return "EXPERIMENT" in self.words

    @property
    def words(self) -> list[str]:
        """The names of its positional arguments."""
        parts = re.findall(r"[^\s\[\]]+", self.usage)
        return [part for part in parts if re.fullmatch(r"[A-Z]+(\.\.\.)?", part)]

    def text(self) -> str:
        """The text of `pisam VERB --help`."""
        return self.help + (f"\n\n{EXPERIMENT_HELP}" if self.takes_experiment else "")

    def read(self, arguments: Sequence[str]) -> Arguments:
        """Sort the arguments by what they are.

        Raises:
            PisamError: one that the verb does not take, a wrong value, one that is missing or given twice.
        """
        own: dict[str, str] = {}
        words, overrides = [], []
        for argument in arguments:
            key, value = split(argument)
            if value is None:
                words.append(argument)
            elif not self._is_own(key):
                overrides.append(f"{key}={value}")
            elif key in own:
                listed = self.keys.get(key) in ("FILE", "LIST")
                more = f"; several go in one list, {key}=[one,another]" if listed else ""
                raise PisamError(f"{self.name}: {key} is given twice{more}")
            else:
                own[key] = os.path.expanduser(value) if value.startswith("~/") else value
        values = [value for key, value in own.items() if value[:1] != "[" and self.keys.get(key) != "LIST"]
        for path in [*words, *values]:
            if not is_possible_path(path):
                why = "too long, too deep, or with NUL"
                raise PisamError(f"{self.name}: {path[:40]!r}... can be no path: {why}")
        self._check(arguments, own, overrides)
        written = [own["out"]] if self.keys.get("out") == "DIR" and "out" in own else []
        for path in written or (words if self.words == ["DIR"] else []):
            refuse_blocked(Path(os.path.expanduser(path)))
        experiment = None
        if self.takes_experiment and len(words) > len(self.words) - 1:
            experiment = words.pop(0)
        required = [word for word in self.words if f"[{word}]" not in self.usage]
        several = any(word.endswith("...") for word in self.words)
        most = len(words) if several else len(self.words) - self.takes_experiment
        if not len(required) <= len(words) <= most:
            if self.takes_experiment:
                got = " ".join([experiment or "", *words]).strip()
                raise PisamError(f"expected one experiment and key=value arguments, got {got}")
            raise PisamError(
                f"{self.name}: expected `pisam {self.name} {self.usage}`, got {' '.join(words) or 'none'}"
            )
        return Arguments(words, own, experiment, overrides)

    def _is_own(self, key: str) -> bool:
        section, dot, _ = key.partition(".")
        return key in self.keys or bool(dot and f"{section}.*" in self.keys)

    def _check(self, arguments: Sequence[str], own: dict[str, str], overrides: list[str]) -> None:
        if overrides and OVERRIDES not in self.usage:
            key, _ = split(overrides[0])
            raise PisamError(f"{self.name}: unknown key {key}{nearest(key, self.keys)}")
        for key, values in self.keys.items():
            choices = values.split("|") if re.fullmatch(r"[a-z0-9]+(\|[a-z0-9]+)+", values) else None
            required = re.search(rf"(^| ){re.escape(key)}=", self.usage) is not None
            if key not in own:
                if required:
                    expected = " or ".join(f"{key}={choice}" for choice in choices or [values])
                    got = " ".join(arguments) or "no arguments"
                    raise PisamError(f"{self.name}: expected {expected}, got {got}")
            elif choices and own[key] not in choices:
                expected = " or ".join(f"{key}={choice}" for choice in choices)
                hint = nearest(own[key], choices)
                raise PisamError(f"{self.name}: expected {expected}, got {key}={own[key]}{hint}")
            elif values == "N" and not re.fullmatch(r"[0-9]{1,9}", own[key]):
                raise PisamError(f"{self.name}: {key}={own[key]}: expected a whole number")
            elif not own[key]:
                raise PisamError(f"{self.name}: {key}=: expected {values}, got nothing")


@dataclass(frozen=True)
class Arguments:
    """The arguments that a verb was given."""

    words: list[str]  # positional arguments, without the experiment
    own: dict[str, str]  # the verb's own keys
    experiment: str | None  # name or path, None where none was given
    overrides: list[str]  # `key=value` for the configuration

    def config(self, *more: str) -> Config:
        """The configuration of the experiment with the overrides and `more` of them.

        Raises:
            PisamError: an unknown experiment or key, or a wrong value.
        """
        from pisam.config.load import load_config

        return load_config(self.experiment or DEFAULT_EXPERIMENT, [*self.overrides, *more])

    def path(self, key: str) -> Path:
        """The local path of a key that was given."""
        return local_path(self.own[key], key)

    def number(self, key: str, default: int, lowest: int = 1, highest: int = 10**9) -> int:
        """The whole number of a key, or its default; raises PisamError: below `lowest` or above `highest`."""
        value = int(self.own.get(key, default))
        if value < lowest:
            raise PisamError(f"{key}: got {value}, expected a whole number >= {lowest}")
        if value > highest:
            raise PisamError(f"{key}: got {value}, expected a whole number <= {highest}")
        return value


def split(argument: str) -> tuple[str, str | None]:
    """Key and value of `key=value` or `--key=value`; a path may hold "=" too, but never before a slash."""
    match = re.match(r"(?:--)?([^/\\=]*)=", argument)
    return (match[1], argument[match.end() :]) if match else (argument, None)


def as_list(key: str, value: str) -> list[str]:
    """A text, or several as [one, another]."""
    from pisam.core.yaml_text import parse_texts

    if not value.startswith("["):
        return [value]
    return [os.path.expanduser(item) if item.startswith("~/") else item for item in parse_texts(value, key)]


def commands() -> Iterator[Command]:
    """Every verb, read from the docstrings without importing what they need."""
    import pisam.commands as package

    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        spec = find_spec(module.name)
        source = spec.loader.get_source(module.name) if spec and spec.loader else None  # type: ignore[attr-defined]
        text = ast.get_docstring(ast.parse(source or "")) or ""
        if usage := re.search(r"^ +pisam (\S+) ?(.*(?:\n {8,}.*)*)$", text, re.MULTILINE):
            group = re.search(r"^group: (.*)\n?", text, re.MULTILINE)
            keys = dict(re.findall(r"^([a-z0-9_.*]+)=(\S+): ", text, re.MULTILINE))
            help_ = text.replace(group[0], "") if group else text
            form = " ".join(usage[2].split())
            yield Command(usage[1], module.name, help_, group[1] if group else "", form, keys)
