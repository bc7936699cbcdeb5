"""Each mutation of `make mutants` still finds its place and its tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = yaml.safe_load((ROOT / "tests" / "mutants" / "mutants.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant["what"])
def test_the_place_of_a_mutation_is_there_once_and_its_tests_exist(mutant: dict[str, str]) -> None:
    source = (ROOT / "src" / "pisam" / mutant["file"]).read_text(encoding="utf-8")
    assert source.count(mutant["old"]) == 1
    if mutant["file"].endswith(".py"):
        ast.parse(source.replace(mutant["old"], mutant["new"]))
    for test in mutant["tests"].split():
        file, _, name = test.partition("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not name or f"def {name.partition('[')[0]}(" in text
