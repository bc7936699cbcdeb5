"""What the documents promise exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
PLACEHOLDER = ("x/test_y.py", "")
NAMED = re.compile(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)(?:::(test_\w+)(?:\[[^\]]*\])?)?`")


def functions_of(file: Path) -> set[str]:
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "experiments/README.md"])
def test_every_test_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for name, function in set(NAMED.findall(text)) - {PLACEHOLDER}:
        files = list(TESTS.rglob(name))
        assert files, f"{document}: no file tests/{name}"
        assert not function or function in functions_of(files[0]), f"{document}: no {function} in {name}"
