"""Values of a sweep's parameters: listed, combined and drawn."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from typing import Any

import pytest

from pisam.commands.sweeps.parameters import draws, grid, read_parameter
from pisam.core.errors import PisamError


def read(**spec: Any) -> Any:
    return read_parameter("file: parameters.x", spec)


def drawn(count: int = 2000, **spec: Any) -> list[Any]:
    return [values["x"] for values in draws({"x": read(**spec)}, count, 7)]


def test_grid_is_every_combination() -> None:
    parameters = {"a": read(values=[1, 2]), "b": read(value="only"), "c": read(values=[True, False])}
    expected = [{"a": a, "b": "only", "c": c} for a in (1, 2) for c in (True, False)]
    assert list(grid(parameters)) == expected


def test_grid_refuses_a_range_by_name() -> None:
    with pytest.raises(PisamError, match=r"parameters\.lr: a grid needs value or values"):
        grid({"lr": read(min=0.1, max=0.2)})


def test_fewer_draws_are_the_beginning_of_more() -> None:
    parameters = {"a": read(min=0.0, max=1.0), "b": read(values=[1, 2, 3])}
    many = list(draws(parameters, 8, 3))
    assert list(draws(parameters, 5, 3)) == many[:5]
    assert list(draws(parameters, 8, 4)) != many


def test_uniform_fills_its_range_evenly() -> None:
    values = drawn(min=2.0, max=6.0)
    assert all(2 <= value <= 6 for value in values)
    assert sum(value < 3 for value in values) / len(values) == pytest.approx(0.25, abs=0.05)


def test_log_uniform_gives_each_decade_its_share() -> None:
    values = drawn(distribution="log_uniform_values", min=1e-4, max=1e-2)
    assert all(1e-4 <= value <= 1e-2 for value in values)
    assert sum(value < 1e-3 for value in values) / len(values) == pytest.approx(0.5, abs=0.05)


def test_whole_numbers_include_both_ends() -> None:
    counts = Counter(drawn(min=1, max=4))
    assert set(counts) == {1, 2, 3, 4}
    assert all(type(value) is int for value in counts)


def test_choices_keep_their_probabilities() -> None:
    counts = Counter(drawn(values=["rare", "often"], probabilities=[0.1, 0.9]))
    assert counts["rare"] / 2000 == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("distribution", ["q_uniform", "q_log_uniform_values"])
def test_steps_are_multiples(distribution: str) -> None:
    values = drawn(distribution=distribution, min=1.0, max=8.0, q=0.5)
    assert all(math.isclose(value * 2, round(value * 2)) for value in values)
    assert {1.0, 8.0} <= set(values)


def test_candidates_are_all_values_or_both_ends() -> None:
    assert read(values=[3, 1]).candidates() == (3, 1)
    assert read(min=1.0, max=2.5).candidates() == (1.0, 2.5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"min": "1e-4", "max": 0.1}, r"x\.min: expected a number, got '1e-4'"),
        ({"min": 1.0}, r"x\.max: expected a number, got None"),
        ({"min": 2, "max": 1}, "expected min < max, got 2 and 1"),
        ({"min": 0.0, "max": 1.0, "distribution": "log_uniform_values"}, "positive, got 0.0"),
        ({"min": 0.1, "max": 1.0, "distribution": "log_uniform_value"}, "did you mean log_uniform_values"),
        ({"min": 0.1, "max": 1, "distribution": "int_uniform"}, "whole numbers"),
        ({"min": 0.1, "max": 1.0, "distribution": "q_uniform", "q": -1}, r"x\.q: got -1"),
        ({"min": 0.1, "max": 1.0, "distribution": "q_uniform", "q": math.nan}, r"x\.q: expected a number"),
        ({"min": 0.1, "max": math.inf}, r"x\.max: expected a number, got inf"),
        ({"min": 1, "max": 10**400}, r"x\.max: expected a number, got a number of more than"),
        ({"values": []}, r"x\.values: expected a list"),
        ({"values": [None, 0.9]}, "null"),
        ({"values": [1, 2], "probabilities": [0.5, 0.4]}, "2 shares with the sum 1"),
        ({"values": [1, 2], "probabilities": [2, -1]}, "2 shares with the sum 1"),
        ({"vales": [1]}, "unknown key vales; did you mean value"),
        ({"parameters": {"lr": {"value": 1}}}, "nested parameters; write the dotted key"),
    ],
)
def test_wrong_parameter_is_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(PisamError, match=message):
        read(**spec)


def test_draw_of_a_listed_value_takes_every_one() -> None:
    parameter, generator = read(values=[1, 2, 3]), random.Random(0)
    assert set(itertools.islice(iter(lambda: parameter.draw(generator), None), 50)) == {1, 2, 3}
