"""A W&B sweep file whose trials are pisam train: its parameters, read and checked before anything runs."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaml import Node

from pisam.config.load import is_text_key, load_config
from pisam.config.rules import LARGEST
from pisam.config.schema import Config
from pisam.config.scores import monitored, refuse_no_score
from pisam.core.checks import refuse_no_folder
from pisam.core.errors import PisamError, nearest
from pisam.core.files import read_text, shipped, shown
from pisam.core.yaml_text import entries, keep_text, parse_yaml

DISTRIBUTIONS = ("uniform", "int_uniform", "log_uniform_values", "q_uniform", "q_log_uniform_values")
SPEC_KEYS = ("value", "values", "probabilities", "min", "max", "distribution", "q")
Values = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """Either listed `values`, perhaps with `probabilities`, or a `distribution` from `low` to `high`."""

    values: tuple[Any, ...] = ()
    probabilities: tuple[float, ...] | None = None
    distribution: str | None = None
    low: float = 0.0
    high: float = 0.0
    step: float = 1.0  # of the q_ distributions

    def candidates(self) -> tuple[Any, ...]:
        """Values that stand for all: the listed ones, or both ends of the range."""
        return self.values if self.distribution is None else (self.low, self.high)

    def draw(self, generator: random.Random) -> Any:
        """A random value."""
        if self.distribution is None:
            return generator.choices(self.values, self.probabilities)[0]
        if self.distribution == "int_uniform":
            return generator.randint(int(self.low), int(self.high))
        if "log" in self.distribution:
            number = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        else:
            number = generator.uniform(self.low, self.high)
        return round(number / self.step) * self.step if self.distribution.startswith("q_") else number


def read_parameter(where: str, spec: Any) -> Parameter:
    """Read a parameter from its entry in a sweep file.

    Args:
        where: the file and the parameter's name, for error messages.

    Raises:
        PisamError: neither value nor values nor a range, or a distribution that is not known.
    """
    if not isinstance(spec, dict):
        raise PisamError(f"{where}: expected value, values, or min and max below it, got {spec!r}")
    if "parameters" in spec:
        raise PisamError(f"{where}: nested parameters; write the dotted key, for example stage1.lr")
    for key in spec:
        if key not in SPEC_KEYS:
            raise PisamError(f"{where}: unknown key {key}{nearest(key, SPEC_KEYS)}")
    if "value" in spec:
        return Parameter((_listed(where, spec["value"]),))
    if "values" in spec:
        return _choice(where, spec)
    return _range(where, spec)


def grid(parameters: Mapping[str, Parameter]) -> Iterator[Values]:
    """Every combination; the last parameter changes fastest.

    Raises:
        PisamError: a parameter that lists no values.
    """
    for key, parameter in parameters.items():
        if parameter.distribution is not None:
            raise PisamError(f"parameters.{key}: a grid needs value or values, not min and max")
    lists = [parameter.values for parameter in parameters.values()]
    return (dict(zip(parameters, values, strict=True)) for values in itertools.product(*lists))


def draws(parameters: Mapping[str, Parameter], count: int, seed: int) -> Iterator[Values]:
    """`count` random combinations; those of a smaller count with the same seed come first."""
    generator = random.Random(seed)
    for _ in range(count):
        yield {key: parameter.draw(generator) for key, parameter in parameters.items()}


def _listed(where: str, value: Any) -> Any:
    if value is None:
        raise PisamError(f"{where}: null: an agent would hand it over as the text None; leave it out")
    return value


def _choice(where: str, spec: dict[str, Any]) -> Parameter:
    values, probabilities = spec["values"], spec.get("probabilities")
    if not isinstance(values, list) or not values:
        raise PisamError(f"{where}.values: expected a list, got {values!r}")
    if probabilities is not None:
        numbers = isinstance(probabilities, list) and all(
            type(p) in (int, float) and 0 <= p <= 1 for p in probabilities
        )
        if not numbers or len(probabilities) != len(values) or not math.isclose(sum(probabilities), 1):
            raise PisamError(f"{where}.probabilities: expected {len(values)} shares with the sum 1")
        probabilities = tuple(probabilities)
    return Parameter(tuple(_listed(where, value) for value in values), probabilities)


def _range(where: str, spec: dict[str, Any]) -> Parameter:
    low, high, step = _number(where, spec, "min"), _number(where, spec, "max"), 1.0
    whole = isinstance(low, int) and isinstance(high, int)
    name = spec.get("distribution", "int_uniform" if whole else "uniform")
    if name not in DISTRIBUTIONS:
        choices = f"one of {', '.join(DISTRIBUTIONS)}{nearest(name, DISTRIBUTIONS)}"
        raise PisamError(f"{where}.distribution: got {name}, expected {choices}")
    if name == "int_uniform" and not whole:
        raise PisamError(f"{where}: int_uniform needs whole numbers as min and max, got {low} and {high}")
    if not low < high or ("log" in name and low <= 0):
        positive = "positive, " if "log" in name else ""
        raise PisamError(f"{where}: expected min < max, {positive}got {low} and {high}")
    if name.startswith("q_"):
        step = _number(where, spec, "q")
        if step <= 0:
            raise PisamError(f"{where}.q: got {step}, expected a positive number")
    return Parameter(distribution=name, low=low, high=high, step=step)


def _number(where: str, spec: dict[str, Any], key: str) -> float:
    number: Any = spec.get(key)
    if type(number) not in (int, float) or not -LARGEST <= number <= LARGEST:
        raise PisamError(f"{where}.{key}: expected a number, got {shown(number)}")
    return number


KEYS = (
    *("name", "description", "project", "entity", "program", "method", "metric", "parameters", "command"),
    *("run_cap", "early_terminate", "controller", "scheduler", "job"),
)  # of W&B
METHODS = ("grid", "random", "bayes")
# What an agent starts; ${interpreter} is the first python on the PATH.
BEGINNING = ("${env}", "${interpreter}", "-m", "${program}", "train")
END = "${args_no_hyphens}"
PROGRAM = "pisam.cli"


@dataclass(frozen=True)
class Sweep:
    """A sweep: the values it tries and the command of a trial."""

    file: Path
    content: dict[str, Any]  # the file as it was read
    name: str  # the folder of its trials below `runs/sweeps`
    experiment: str  # name or path, as `pisam train` takes it
    stage: int  # 1 or 2
    overrides: tuple[str, ...]  # `key=value` that all trials share
    parameters: dict[str, Parameter]
    method: str
    metric: str
    goal: str  # minimize or maximize `metric`
    cap: int | None  # number of trials that the file allows, if it says so

    def config(self, values: Values, *more: str) -> Config:
        """The configuration of a trial.

        Raises:
            PisamError: an unknown key or a wrong value; names the sweep file.
        """
        try:
            return load_config(self.experiment, [*self.overrides, *as_arguments(values), *more])
        except PisamError as error:
            raise PisamError(f"{self.file}: {error}") from error

    def as_file(self) -> dict[str, Any]:
        """The file's content with the experiment and the overrides of this sweep in its command."""
        fixed = [self.experiment, f"stage={self.stage}", f"sweep={self.name}", *self.overrides]
        return {**self.content, "command": [*BEGINNING, *fixed, END]}


def as_arguments(values: Values) -> list[str]:
    """`key=value` in the form in which W&B's agent writes them."""
    return [f"{key}={value}" for key, value in values.items()]


def read_sweep(file: str | Path, overrides: Sequence[str] = (), experiment: str | None = None) -> Sweep:
    """Read a sweep file and check each value that it names against the configuration's schema.

    Args:
        file: a path, or a name in `experiments/sweeps`.
        overrides: `key=value` for all trials, stronger than those in the file.
        experiment: in place of the file's.

    Raises:
        PisamError: no such file, something in it that is not understood, an unknown key, a wrong value or a
            score that no validation gives.
    """
    path = _find(str(file))
    content = _read(path)
    if unknown := next((key for key in content if key not in KEYS), None):
        raise PisamError(f"{path}: unknown key {shown(unknown)}{nearest(unknown, KEYS)}")
    if content.get("program") != PROGRAM:
        raise PisamError(f"{path}: program: expected {PROGRAM}, got {content.get('program')}")
    name, stage, own_experiment, fixed = _read_command(path, content.get("command"))
    metric, goal = _read_metric(path, content.get("metric"))
    parameters = content.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise PisamError(f"{path}: parameters: expected a key per parameter, got {parameters!r}")
    if (method := content.get("method")) not in METHODS:
        raise PisamError(f"{path}: method: got {method}, expected one of {', '.join(METHODS)}")
    cap = content.get("run_cap")
    if cap is not None and (type(cap) is not int or cap < 1):
        raise PisamError(f"{path}: run_cap: got {cap!r}, expected a positive whole number")
    overridden = {argument.partition("=")[0] for argument in overrides}
    kept = [argument for argument in fixed if argument.partition("=")[0] not in overridden]
    sweep = Sweep(
        file=path,
        content=content,
        name=name,
        experiment=experiment or own_experiment,
        stage=stage,
        overrides=(*kept, *overrides),
        parameters={
            str(key): read_parameter(f"{path}: parameters.{key}", spec) for key, spec in parameters.items()
        },
        method=method,
        metric=metric,
        goal=goal,
        cap=cap,
    )
    _check_values(sweep)
    return sweep


def _find(file: str) -> Path:
    folders = [Path("experiments") / "sweeps", shipped("experiments") / "sweeps"]
    is_path = Path(file).suffix in (".yaml", ".yml")
    choices = [Path(file)] if is_path else [folder / f"{file}.yaml" for folder in folders]
    path = next((choice for choice in choices if choice.is_file()), choices[0])
    if not path.is_file():
        names = sorted({choice.stem for folder in folders for choice in folder.glob("*.yaml")})
        hint = f"; there are {', '.join(names)}{nearest(file, names)}" if names else ""
        raise PisamError(f"sweep {file}: found no file {path}{hint}")
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(read_text(path), str(path), _keep_texts)
    except (OSError, ValueError) as error:
        raise PisamError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise PisamError(f"{path}: expected a W&B sweep file, got {type(content).__name__}")
    return content


def _keep_texts(content: Node) -> None:
    """Words of the command and values of keys that hold text are text as it was typed."""
    for name, part in entries(content):
        if name == "command":
            keep_text(part)
        for key, spec in entries(part) if name == "parameters" else ():
            for what, value in entries(spec) if is_text_key(key) else ():
                if what in ("value", "values"):
                    keep_text(value)


def _read_command(path: Path, command: Any) -> tuple[str, int, str, list[str]]:
    expected = f"expected [{', '.join(BEGINNING)}, EXPERIMENT, stage=1|2, sweep=NAME, key=value ..., {END}]"
    words = [str(word) for word in command] if isinstance(command, list) else []
    if tuple(words[: len(BEGINNING)]) != BEGINNING or words[-1] != END:
        raise PisamError(f"{path}: command: {expected}, got {command}")
    arguments = words[len(BEGINNING) : -1]
    keys = [argument.partition("=")[0] for argument in arguments if "=" in argument]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise PisamError(f"{path}: command: {twice} is there twice; keep one")
    named = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    experiments = [argument for argument in arguments if "=" not in argument]
    if len(experiments) != 1 or named.get("stage") not in ("1", "2") or not named.get("sweep"):
        raise PisamError(f"{path}: command: {expected}, got {' '.join(arguments)}")
    refuse_no_folder(named["sweep"], f"{path}: command: sweep")
    fixed = [f"{key}={value}" for key, value in named.items() if key not in ("stage", "sweep")]
    return named["sweep"], int(named["stage"]), experiments[0], fixed


def _read_metric(path: Path, metric: Any) -> tuple[str, str]:
    name, goal = (metric.get("name"), metric.get("goal")) if isinstance(metric, dict) else (None, None)
    if not isinstance(name, str) or goal not in ("maximize", "minimize"):
        raise PisamError(
            f"{path}: metric: expected a name such as val/iou and goal: maximize or minimize, got {metric!r}"
        )
    return name, goal


def _check_values(sweep: Sweep) -> None:
    for key in ("run_dir", *(argument.partition("=")[0] for argument in sweep.overrides)):
        if key in sweep.parameters:
            reason = "each trial gets its own" if key == "run_dir" else "it has a fixed value too"
            raise PisamError(f"{sweep.file}: parameters.{key}: cannot be varied, {reason}")
    if any(argument.startswith("run_dir=") for argument in sweep.overrides):
        raise PisamError(f"{sweep.file}: run_dir: each trial gets its own, runs/sweeps/{sweep.name}/TRIAL")
    first = {key: parameter.candidates()[0] for key, parameter in sweep.parameters.items()}
    for key, parameter in sweep.parameters.items():
        for value in parameter.candidates():
            _check_scores(sweep, sweep.config({**first, key: value}))


def _check_scores(sweep: Sweep, config: Config) -> None:
    """Refuse what no validation of a trial would give, of which its end would tell first."""
    refuse_no_score(sweep.metric, config, sweep.stage, f"{sweep.file}: metric")
    try:
        monitored(config, sweep.stage)
    except PisamError as error:
        raise PisamError(f"{sweep.file}: {error}") from error
