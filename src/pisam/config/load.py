"""An experiment's file and `key=value` arguments become a checked `Config`, and a file again.

Defaults, then the experiment's file, then the arguments. The result is saved with the run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml import MappingNode, Node, ScalarNode

from pisam.config.rules import key_name, walk, wrong_values
from pisam.config.schema import Config, PromptsConfig, to_plain
from pisam.core.errors import PisamError, nearest
from pisam.core.files import read_text, shipped, write_text
from pisam.core.yaml_text import LARGEST_FILE, STRING, entries, keep_text, nodes, plain, short

ROW_TEXTS = {"name": False, "images": True, "masks": True, "annotations": True, "names": True}  # True: a path


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _exactly(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError
        return value

    return check


def _numbers(value: Any) -> list[float]:
    return [_number(item) for item in _exactly(list)(value)]


# What a value of each field type is called in an error message, and what makes it one.
KINDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "str": ("text", _exactly(str)),
    "int": ("a whole number", _exactly(int)),
    "float": ("a number", _number),
    "bool": ("true or false", _exactly(bool)),
    "Any": ("a number, a list or text", lambda value: value),
    "list[float]": ("a list of numbers", _numbers),
    "list[Any]": ("a list of sets", _exactly(list)),
}
# Sections that may be left out as a whole.
OPTIONAL_SECTIONS = {"PromptsConfig | None": PromptsConfig}


@dataclass(frozen=True)
class Origin:
    """The origin of a value: a file and the line in it, or an argument."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


def load_config(experiment: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Defaults, the experiment's file and `key=value` arguments merged into one checked `Config`.

    Args:
        experiment: a name in `experiments/` of the current directory, one that comes with the package, or
            the path of a YAML file.
        overrides: `key=value` with dotted keys, e.g. `stage1.lr=3e-4`. Text is taken as it was typed, `~/`
            at the beginning of a path is the home folder; other values are read as YAML.

    Returns:
        The configuration, with `name`, `run_dir`, `logging.group` and the folders from PISAM_WEIGHTS and
        PISAM_DATA_ROOT filled in where they were left open.

    Raises:
        PisamError: no such experiment, an unknown key or a wrong value; names the file or argument.
    """
    return load_with_origins(experiment, overrides)[0]


def load_with_origins(
    experiment: str | Path, overrides: Iterable[str] = ()
) -> tuple[Config, dict[str, Origin]]:
    """Load as `load_config`, and tell what set each value that is not a default, under its dotted key."""
    file = _find_experiment(experiment)
    config = Config()
    origins: dict[str, Origin] = {}
    for source, node in ((str(file), _file_node(file)), *((a, _argument_node(a)) for a in overrides)):
        if node is not None:
            origins |= dict(_fill(config, node, source, is_file=source == str(file)))
    origins |= _fill_in(config, file)
    for key, value, expected in wrong_values(config):
        set_by = [origin for known, origin in origins.items() if known == key or known.startswith(f"{key}.")]
        source = set_by[-1].source if set_by else str(file)
        raise PisamError(f"{short(source)}: {key}: got {short(repr(value))}, expected {expected}")
    return config, origins


def save_config(config: Config, path: str | Path) -> None:
    """Write `config` as YAML that `load_config` reads back equal; interrupted, it leaves no half file."""
    write_text(yaml.safe_dump(to_plain(config), sort_keys=False), Path(path))


def _find_experiment(experiment: str | Path) -> Path:
    path = Path(experiment)
    is_path = path.suffix in (".yaml", ".yml") or path.name != str(experiment)
    own = Path("experiments")
    try:
        for file in [path] if is_path else [own / f"{path}.yaml", shipped("experiments") / f"{path}.yaml"]:
            if file.is_file():
                return file
    except (OSError, ValueError) as error:  # a name that is too long, a NUL
        raise PisamError(f"experiment {short(str(experiment))}: {error}") from error
    names = sorted({file.stem for folder in (own, shipped("experiments")) for file in folder.glob("*.yaml")})
    if is_path or not names:
        raise PisamError(f"experiment {experiment}: found no file {path}; give the path of a YAML file")
    choices = f"{', '.join(names)}{nearest(experiment, names)}"
    raise PisamError(f"experiment {experiment}: expected a path or one of {choices}")


def _file_node(file: Path) -> Node | None:
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise PisamError(f"{file}: larger than {LARGEST_FILE // 1024} kB; that is no experiment")
        node = _parse(read_text(file), str(file))
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise PisamError(f"{file}: not valid YAML{line}: {error.problem}") from error
    except (yaml.YAMLError, OSError, ValueError) as error:
        raise PisamError(f"{file}: not readable as YAML: {str(error).splitlines()[0]}") from error
    if node is not None and not isinstance(node, MappingNode):
        found = type(plain(node)).__name__
        raise PisamError(f"{file}: expected lines of `key: value`, got a {found}")
    return node


def _argument_node(argument: str) -> Node:
    key, equals, value = argument.partition("=")
    if not (equals and key):
        raise PisamError(f"{short(argument)}: expected key=value, for example stage1.lr=3e-4")
    node: Node | None
    if is_text_key(key) and not re.fullmatch(r"""|~|null|Null|NULL|'.*'|".*\"""", value):
        node = ScalarNode(STRING, value)
        _refuse_references([node], argument)
    else:
        try:
            node = _parse(value, argument)
        except (yaml.YAMLError, ValueError) as error:
            raise PisamError(f"{short(argument)}: the value is not valid YAML; quote it") from error
    node = node or ScalarNode("tag:yaml.org,2002:null", "")
    for part in reversed(key.split(".")):
        node = MappingNode("tag:yaml.org,2002:map", [(ScalarNode(STRING, part), node)])
    return node


def _parse(text: str, source: str) -> Node | None:
    """The YAML nodes of a text; no file may read this machine's environment, or fill its memory."""
    node, scalars = nodes(text, source)
    _refuse_references(scalars, source)
    return node


def _refuse_references(scalars: Iterable[ScalarNode], source: str) -> None:
    for node in scalars:
        if "${" in node.value or node.value == "???":
            raise PisamError(
                f"{source}: {node.value}: references and placeholders are refused; write the value"
            )


def is_text_key(key: str) -> bool:
    """True for a dotted key of the configuration that holds text."""
    section: Any = Config()
    *sections, name = key.split(".")
    for part in sections:
        section = _section(section, {key_name(f.name): f for f in fields(section)}.get(part))
        if section is None:
            return False
    return any(key_name(f.name) == name and str(f.type).startswith("str") for f in fields(section))


def _section(parent: Any, f: Field | None) -> Any:
    """The section that a field holds, or would hold where it is left out."""
    if f is None:
        return None
    value = getattr(parent, f.name)
    return value if is_dataclass(value) else OPTIONAL_SECTIONS.get(str(f.type), lambda: None)()


def _fill(
    section: Any, node: Node, source: str, prefix: str = "", *, is_file: bool
) -> Iterator[tuple[str, Origin]]:
    """Set what `node` sets in `section`, each key known and of the right type; yields what set it."""
    known = {key_name(f.name): f for f in fields(section)}
    for name_node, value_node in node.value:
        name = str(name_node.value)
        key, line = f"{prefix}{name}", name_node.start_mark and name_node.start_mark.line + 1
        if name not in known:
            siblings = [prefix + sibling for sibling in known]
            hint = _nearest_key(key, siblings)
            if is_file and key in _all_keys(Config()):
                hint = "; in a file each part of it has a line of its own, below the other"
            raise PisamError(f"{short(source)}: unknown key {short(key)}{hint}")
        field = known[name]
        below = _section(section, field)
        if below is None or (str(field.type) in OPTIONAL_SECTIONS and plain(value_node) is None):
            setattr(section, field.name, _typed(field, value_node, f"{short(source)}: {key}"))
            yield key, Origin(source, line if is_file else None)
        elif isinstance(value_node, MappingNode):
            setattr(section, field.name, below)
            yield from _fill(below, value_node, source, f"{key}.", is_file=is_file)
        else:
            example = next(_all_keys(below, f"{key}."))
            value = short(repr(plain(value_node)))
            raise PisamError(f"{source}: {key}: got {value}, expected keys below it such as {example}")


def _typed(field: Field, node: Node, where: str) -> Any:
    kind, optional = re.subn(r" \| None$", "", str(field.type))
    if kind == "str" and isinstance(node, ScalarNode) and node.tag != "tag:yaml.org,2002:null":
        is_path = any(rule.is_path for rule in field.metadata["rules"])
        return os.path.expanduser(node.value) if is_path else node.value
    if kind == "list[Any]":
        _keep_texts_of_rows(node)
    value = plain(node)
    if value is None and optional:
        return None
    expected, convert = KINDS.get(kind, ("", lambda value: value))
    try:
        return convert(value)
    except (TypeError, OverflowError) as error:
        if optional:
            expected = f"{expected.replace(' or ', ', ')} or null"
        raise PisamError(f"{where}: got {short(repr(value))}, expected {expected}") from error


def _keep_texts_of_rows(node: Node) -> None:
    """Names and paths in rows of data sets are text as it was typed, too."""
    for row in node.value if isinstance(node, yaml.SequenceNode) else ():
        for name, value in entries(row):
            if name in ROW_TEXTS and isinstance(value, ScalarNode):
                keep_text(value)
                if ROW_TEXTS[name]:
                    value.value = os.path.expanduser(value.value)


def _all_keys(section: Any, prefix: str = "") -> Iterator[str]:
    return (key for key, _, value in walk(section, prefix) if not is_dataclass(value))


def _nearest_key(wrong: str, siblings: list[str]) -> str:
    """A key of the same name elsewhere is likelier meant than a similar one."""
    every = list(_all_keys(Config()))
    same_name = [key for key in every if key.rpartition(".")[2] == wrong.rpartition(".")[2] and key != wrong]
    if len(same_name) == 1:
        return f"; did you mean {same_name[0]}?"
    return nearest(wrong, siblings) or nearest(wrong, every)


def _fill_in(config: Config, file: Path) -> dict[str, Origin]:
    """Defaults of what the experiment leaves open, and their origins."""
    found: dict[str, Origin] = {}

    def fill(section: Any, key: str, value: str | None, source: str) -> None:
        name = key.rpartition(".")[2]
        if not getattr(section, name) and value:
            setattr(section, name, os.path.expanduser(value))
            found[key] = Origin(source)

    fill(config, "name", file.stem, "the file's name")
    fill(config, "run_dir", str(Path("runs") / config.name), "name")
    fill(config.logging, "logging.group", config.name, "name")
    fill(config.data, "data.root", os.environ.get("PISAM_DATA_ROOT"), "PISAM_DATA_ROOT")
    if config.model.backbone != "nano":
        fill(config.model, "model.weights", os.environ.get("PISAM_WEIGHTS"), "PISAM_WEIGHTS")
    return found
