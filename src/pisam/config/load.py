"""An experiment's file and `key=value` arguments become a checked `Config`, by one merge, and a file again.

Defaults, then the experiment's file, then the arguments. The result is saved with the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pisam.config.checks import wrong_values
from pisam.config.schema import Config, PromptsConfig, to_plain
from pisam.core.errors import PisamError, nearest
from pisam.core.files import replacing

# What a value of each field type is called in an error message.
KINDS = {
    "str": "text",
    "str | None": "text or null",
    "int": "a whole number",
    "float": "a number",
    "int | None": "a whole number or null",
    "float | None": "a number or null",
    "bool | None": "true, false or null",
    "bool": "true or false",
    "Any": "a number, a list or text",
    "list[float]": "a list of numbers",
    "list[Any]": "a list of sets",
    "list[Any] | None": "a list of sets or null",
}


# Sections that may be left out as a whole.
OPTIONAL_SECTIONS = {"PromptsConfig | None": PromptsConfig}


def load_config(experiment: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Defaults, the experiment's file and `key=value` arguments merged into one checked `Config`.

    Args:
        experiment: a name in `experiments/` of the current directory, or the path of a YAML file.
        overrides: `key=value` with dotted keys, e.g. `stage1.lr=3e-4`; the value is read as YAML.

    Returns:
        The configuration, with `name`, `run_dir`, `logging.group` and the folders from PISAM_WEIGHTS and
        PISAM_DATA_ROOT filled in where they were left open.

    Raises:
        PisamError: no such experiment, an unknown key or a wrong value; names the file or argument.
    """
    file = _find_experiment(experiment)
    layers = [(str(file), _read_file(file))]
    layers += [(argument, _read_argument(argument)) for argument in overrides]
    origin = {key: source for source, layer in layers for key in _checked_keys(source, layer)}
    merged = OmegaConf.merge(OmegaConf.structured(Config), *(_with_field_names(layer) for _, layer in layers))
    config = OmegaConf.to_object(merged)
    assert isinstance(config, Config)
    _fill_in(config, file)
    for key, value, expected in wrong_values(to_plain(config)):
        set_by = [source for known, source in origin.items() if known == key or known.startswith(f"{key}.")]
        raise PisamError(f"{set_by[-1] if set_by else file}: {key}: got {value!r}, expected {expected}")
    return config


def save_config(config: Config, path: str | Path) -> None:
    """Write `config` as YAML that `load_config` reads back equal; interrupted, it leaves no half file."""
    with replacing(Path(path)) as temporary:
        OmegaConf.save(OmegaConf.create(to_plain(config)), temporary)


def _find_experiment(experiment: str | Path) -> Path:
    path = Path(experiment)
    is_path = path.suffix in (".yaml", ".yml") or path.name != str(experiment)
    file = path if is_path else Path("experiments") / f"{experiment}.yaml"
    if file.is_file():
        return file
    names = sorted(known.stem for known in Path("experiments").glob("*.yaml"))
    if is_path or not names:
        raise PisamError(f"experiment {experiment}: found no file {file}; give the path of a YAML file")
    choices = f"{', '.join(names)}{nearest(experiment, names)}"
    raise PisamError(f"experiment {experiment}: expected a path or one of {choices}")


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise PisamError(f"{file}: not valid YAML{line}: {error.problem}") from error
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise PisamError(f"{file}: not readable as YAML: {str(error).splitlines()[0]}") from error
    return _literal(str(file), content)


def _read_argument(argument: str) -> dict[str, Any]:
    key, equals, _ = argument.partition("=")
    if not (equals and key):
        raise PisamError(f"{argument}: expected key=value, for example stage1.lr=3e-4")
    try:
        content = OmegaConf.to_container(OmegaConf.from_dotlist([argument]), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise PisamError(f"{argument}: the value is not valid YAML; quote it") from error
    return _literal(argument, content)


def _literal(source: str, content: Any) -> dict[str, Any]:
    """`content`, refused where OmegaConf would resolve it: no file may read this machine's environment."""
    if not isinstance(content, dict):
        raise PisamError(f"{source}: expected lines of `key: value`, got a {type(content).__name__}")
    for text in _strings(content):
        if "${" in text or text == "???":
            raise PisamError(f"{source}: {text}: references and placeholders are refused; write the value")
    return content


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _key_name(name: str) -> str:
    """The YAML key of a field: `from` is a Python keyword, so its field ends in an underscore."""
    return name.rstrip("_")


def _with_field_names(layer: dict[str, Any]) -> dict[str, Any]:
    if "from" not in layer.get("stage2", {}):
        return layer
    stage2 = {"from_" if key == "from" else key: value for key, value in layer["stage2"].items()}
    return {**layer, "stage2": stage2}


def _checked_keys(source: str, layer: dict[str, Any], section: Any = None, prefix: str = "") -> Iterator[str]:
    """The dotted keys that `layer` sets, each of them known and of the right type."""
    section = Config() if section is None else section
    known = {_key_name(f.name): f for f in fields(section)}
    for name, value in layer.items():
        key = f"{prefix}{name}"
        if name not in known:
            siblings = [prefix + sibling for sibling in known]
            raise PisamError(f"{source}: unknown key {key}{_nearest_key(key, siblings)}")
        default = getattr(section, known[name].name)
        if (optional := OPTIONAL_SECTIONS.get(str(known[name].type))) and value is not None:
            default = optional()
        if not is_dataclass(default):
            yield key
            schema = OmegaConf.structured(type(section))
            try:
                OmegaConf.update(schema, known[name].name, value, merge=False)
            except (OmegaConfBaseException, TypeError, ValueError) as error:
                kind = KINDS[str(known[name].type)]
                raise PisamError(f"{source}: {key}: got {value!r}, expected {kind}") from error
        elif isinstance(value, dict):
            yield from _checked_keys(source, value, default, f"{key}.")
        else:
            example = next(_all_keys(default, key))
            raise PisamError(f"{source}: {key}: got {value!r}, expected keys below it such as {example}")


def _all_keys(section: Any, prefix: str = "") -> Iterator[str]:
    for f in fields(section):
        value = getattr(section, f.name)
        key = f"{prefix}.{_key_name(f.name)}".lstrip(".")
        if is_dataclass(value):
            yield from _all_keys(value, key)
        else:
            yield key


def _nearest_key(wrong: str, siblings: list[str]) -> str:
    """A key of the same name elsewhere is likelier meant than a similar one."""
    every = list(_all_keys(Config()))
    same_name = [key for key in every if key.rpartition(".")[2] == wrong.rpartition(".")[2] and key != wrong]
    if len(same_name) == 1:
        return f"; did you mean {same_name[0]}?"
    return nearest(wrong, siblings) or nearest(wrong, every)


def _fill_in(config: Config, file: Path) -> None:
    config.name = config.name or file.stem
    config.run_dir = config.run_dir or str(Path("runs") / config.name)
    config.logging.group = config.logging.group or config.name
    config.data.root = config.data.root or os.environ.get("PISAM_DATA_ROOT") or None
    if config.model.backbone != "nano":
        config.model.weights = config.model.weights or os.environ.get("PISAM_WEIGHTS") or None
