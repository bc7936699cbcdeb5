"""Apply each mutation of mutants.yaml to a copy of the tree, run its test, print what survives.

`python tests/mutants [WORD ...]` takes only those whose description holds a word.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.yaml")
PRELOADED = ("cv2", "lightning.pytorch", "segment_anything", "torchmetrics", "torchvision", "wandb")
COPIED = (
    "src",
    "tests",
    "experiments",
    "notebooks",
    "docs",
    "setup.cfg",
    "pyproject.toml",
    "Makefile",
    "README.md",
)


def main(words: list[str]) -> int:
    """Print a line per mutation; return how many survived."""
    mutants = [m for m in yaml.safe_load(LIST.read_text(encoding="utf-8")) if chosen(m, words)]
    for (
        name
    ) in PRELOADED:  # once for all: a child begins with what is loaded here, and takes pisam from the copy
        import_module(name)
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pisam"
        copy.mkdir()
        for name in COPIED:
            take = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            take(ROOT / name, copy / name)
        for mutant in mutants:
            caught = is_caught(mutant, copy)
            survivors += not caught
            print("caught  " if caught else "SURVIVED", mutant["what"], flush=True)
    print(f"{len(mutants)} mutants, {survivors} survived")
    return survivors


def chosen(mutant: dict[str, str], words: list[str]) -> bool:
    return not words or any(word in mutant["what"] for word in words)


def is_caught(mutant: dict[str, str], copy: Path) -> bool:
    """Whether a test fails with the mutation in place."""
    file = copy / "src" / "pisam" / mutant["file"]
    original = file.read_text(encoding="utf-8")
    file.write_text(mutated(original, mutant), encoding="utf-8")
    output = copy.with_suffix(".txt")
    try:
        if (child := os.fork()) == 0:
            run_tests(copy, [f"tests/{test}" for test in mutant["tests"].split()], output)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        file.write_text(original, encoding="utf-8")
    if code not in (0, 1):
        raise SystemExit(f"{mutant['what']}: pytest ended with {code}\n{output.read_text()[-2000:]}")
    return code == 1


def run_tests(copy: Path, tests: list[str], output: Path) -> NoReturn:
    """In a child that has the large packages already: run tests of the copy and end with pytest's code."""
    code = 99
    try:
        with output.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(copy)
        os.environ["PYTHONPATH"] = str(copy / "src")
        os.environ.setdefault("PISAM_SHARED", str(ROOT.parent / "shared"))
        sys.path.insert(0, str(copy / "src"))
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow", *tests]))
        sys.stdout.flush()
    finally:
        os._exit(code)


def mutated(source: str, mutant: dict[str, str]) -> str:
    """The source with the one place changed."""
    if source.count(mutant["old"]) != 1:
        raise SystemExit(
            f"{mutant['file']}: {mutant['old']!r} occurs {source.count(mutant['old'])} times, not once"
        )
    return source.replace(mutant["old"], mutant["new"])


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
