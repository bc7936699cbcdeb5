"""Apply each mutation of mutants.yaml to a copy of the tree, run its test, print what survives.

`python tests/mutants [WORD ...]` takes only those whose description holds a word.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.yaml")
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
    """Whether the test fails with the mutation in place."""
    file = copy / "src" / "pisam" / mutant["file"]
    original = file.read_text(encoding="utf-8")
    file.write_text(mutated(original, mutant), encoding="utf-8")
    shared = os.environ.get("PISAM_SHARED", str(ROOT.parent / "shared"))
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PISAM_SHARED": shared}
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow"]
    tests = [f"tests/{test}" for test in mutant["tests"].split()]
    try:
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                *options,
                *tests,
            ],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
        )
    finally:
        file.write_text(original, encoding="utf-8")
    if run.returncode not in (0, 1):
        raise SystemExit(f"{mutant['what']}: pytest ended with {run.returncode}\n{run.stdout[-2000:]}")
    return run.returncode == 1


def mutated(source: str, mutant: dict[str, str]) -> str:
    """The source with the one place changed."""
    if source.count(mutant["old"]) != 1:
        raise SystemExit(
            f"{mutant['file']}: {mutant['old']!r} occurs {source.count(mutant['old'])} times, not once"
        )
    return source.replace(mutant["old"], mutant["new"])


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
