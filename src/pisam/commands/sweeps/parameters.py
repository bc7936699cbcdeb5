"""One parameter of a sweep file: the values it may take, listed or drawn; the format is W&B's."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pisam.config.rules import LARGEST
from pisam.core.errors import PisamError, nearest
from pisam.core.files import shown

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
