"""What the documents promise exists."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
DOCUMENTS = sorted(
    str(file.relative_to(ROOT))
    for folder in (".", "docs", "experiments", "experiments/results/*")
    for file in ROOT.glob(f"{folder}/*.md")
)
PLACEHOLDER = ("x/test_y.py", "")
LINK = re.compile(r"\]\((?!https?://)([^)#\s]+)")
NAMED = re.compile(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)(?:::(test_\w+)(?:\[[^\]]*\])?)?`")


def functions_of(file: Path) -> set[str]:
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for name, function in set(NAMED.findall(text)) - {PLACEHOLDER}:
        files = list(TESTS.rglob(name))
        assert files, f"{document}: no file tests/{name}"
        assert not function or function in functions_of(files[0]), f"{document}: no {function} in {name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_to_a_file(document: str) -> None:
    folder = (ROOT / document).parent
    links = LINK.findall((ROOT / document).read_text(encoding="utf-8"))
    assert not [link for link in links if not (folder / link).exists()]


def test_readme_can_be_read_in_minutes() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert len(text.split()) <= 1500


@pytest.mark.slow
def test_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(tmp_path / "built")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "built" / "api.html").is_file()
