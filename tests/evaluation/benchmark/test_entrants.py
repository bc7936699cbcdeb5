"""Two models never share a file of results, and what a user's class says of itself is looked at first."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pisam.core.errors import PisamError
from pisam.evaluation.benchmark.entrant import as_logits, facts_of, file_stem, name_of
from pisam.evaluation.benchmark.entrants import entrants_of
from pisam.evaluation.benchmark.interaction_file import is_fact


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("one/a", "two/a"), "two are called a; rename"),
        (("a b", "a-b"), "two are called a b and a-b, one file name; rename"),
        (("a@1", "a#1"), "two are called a@1 and a#1, one file name; rename"),
    ],
)
def test_two_models_with_one_file_of_results_are_refused(
    tmp_path: Path, folders: tuple[str, str], said: str
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(PisamError, match=said):
        entrants_of([f"masks:{tmp_path / folder}" for folder in folders], None)


def test_models_with_files_of_their_own_stand_beside_each_other(tmp_path: Path) -> None:
    for name in ("a", "A", "a+b", "a.b"):
        (tmp_path / name).mkdir()
    models = entrants_of([f"masks:{tmp_path / name}" for name in ("a", "A", "a+b", "a.b")], None)
    assert [file_stem(name_of(model)) for model in models] == ["a", "A", "a+b", "a.b"]


@pytest.mark.parametrize("what", ["name", "facts"])
def test_a_property_that_fails_is_named_with_its_line(tmp_path: Path, what: str) -> None:
    (tmp_path / "mine.py").write_text(
        f"class Mine:\n    @property\n    def {what}(self): return 1 / 0\n"
        "    def encode(self, image): ...\n    def answer(self, prompt, clicks, previous): ...\n"
    )
    with pytest.raises(PisamError, match=r"mine\.py:3: ZeroDivisionError"):
        entrants_of([f"{tmp_path / 'mine.py'}:Mine"], None)


def test_a_fact_that_no_file_holds_is_none() -> None:
    entrant = SimpleNamespace(name="mine", facts={"n": 10**5000, "depth": 3})
    assert [key for key, value in facts_of(entrant).items() if is_fact(value)] == ["name", "depth"]


def test_logits_beyond_32_bits_are_as_sure_as_can_be() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (as_logits(np.array([[1e39, -1e39]]), (1, 2)) > 0).tolist() == [[True, False]]
