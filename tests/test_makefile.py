"""The Makefile's promises, read from what `make -n` would run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`make` as a user's shell starts it, whatever started this test."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS", "ARGS")
    }
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def planned(*arguments: str) -> list[str]:
    result = make("-n", "PYTHON=python", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def phony_targets() -> list[str]:
    (line,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    return line.split()


def test_make_alone_lists_every_target_with_a_description() -> None:
    listing = make().stdout
    for target in phony_targets():
        assert re.search(rf"^  {target} +\S", listing, flags=re.MULTILINE), f"{target} is not listed"


def test_every_target_has_a_plan() -> None:
    for target in phony_targets():
        assert planned(target), target


@pytest.mark.parametrize("goals", [["stage1", "stage2"], ["stage2", "stage1"], ["-j2", "stage2", "stage1"]])
def test_stages_run_in_order_with_experiment_and_arguments(goals: list[str]) -> None:
    plan = planned(*goals, "EXPERIMENT=real_small", "ARGS=seed=1 stage1.lr=3e-4")
    assert [line for line in plan if "pisam" in line] == [
        "python -m pisam.cli train real_small stage=1 seed=1 stage1.lr=3e-4",
        "python -m pisam.cli train real_small stage=2 seed=1 stage1.lr=3e-4",
    ]


def test_stage2_alone_does_not_train_stage1() -> None:
    (line,) = planned("stage2")
    assert "train quickstart stage=2" in line


@pytest.mark.parametrize("jobs", ["-j1", "-j4"])
def test_stage2_does_not_run_after_a_failed_stage1(jobs: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexit 3\n')
    python.chmod(0o755)
    result = make(jobs, "stage1", "stage2", f"PYTHON={python}")
    assert result.returncode == 2
    assert log.read_text().splitlines() == ["-m pisam.cli train quickstart stage=1"]


def test_targets_run_one_after_the_other_under_j(tmp_path: Path) -> None:
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho begin $3 >> {log}\nsleep 0.2\necho end $3 >> {log}\n")
    python.chmod(0o755)
    verbs = ["evaluate", "interact", "report"]
    assert make("-j4", *verbs, f"PYTHON={python}").returncode == 0
    assert log.read_text().splitlines() == [f"{when} {verb}" for verb in verbs for when in ("begin", "end")]


def test_test_means_lint_types_and_fast_tests_with_coverage() -> None:
    plan = "\n".join(planned("test"))
    for part in ("ruff check", "ruff format --check", "mypy", "pytest --cov", "--cov-fail-under=90"):
        assert part in plan


def test_without_python_an_environment_is_made_first() -> None:
    lines = make("-n", "--always-make", "stage1").stdout.splitlines()
    order = [
        next(i for i, line in enumerate(lines) if text in line)
        for text in ("-m venv", "pip install", "train")
    ]
    assert order == sorted(order)


def test_missing_venv_module_is_told_clearly(tmp_path: Path) -> None:
    """Debian's python3 without python3-venv: stand-in interpreter that cannot import ensurepip."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "setup.cfg").touch()
    fake = tmp_path / "bin" / "python3"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; *) exec {sys.executable} "$@";; esac\n')
    fake.chmod(0o755)
    result = subprocess.run(
        ["make", "stage1"],
        cwd=tmp_path,
        env={"PATH": f"{fake.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "install python3-venv" in result.stderr
    assert not (tmp_path / ".venv").exists()


def browser_commands(folder: Path, *, user: int, sudo: bool) -> tuple[list[str], str]:
    """What `make browser` runs, and says, on a Debian without chromium; apt-get and sudo only take notes."""
    commands = folder / "commands"
    programs = {"apt-get": 'echo "apt-get $*"', "id": f"echo {user}"}
    programs["sudo"] = 'echo "sudo $*"' if sudo else "exit 1"
    for name, body in programs.items():
        log = f" >> {commands}" if "echo" in body and name != "id" else ""
        (folder / name).write_text(f"#!/bin/sh\n{body}{log}\n")
        (folder / name).chmod(0o755)
    (folder / "env").symlink_to(shutil.which("env") or "env")
    result = subprocess.run(
        [shutil.which("make") or "make", "browser", "PYTHON=python"],
        cwd=ROOT,
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return commands.read_text().splitlines() if commands.exists() else [], result.stderr


def test_root_installs_the_browser(tmp_path: Path) -> None:
    commands, said = browser_commands(tmp_path, user=0, sudo=False)
    assert commands == ["apt-get update", "apt-get install --yes --no-install-recommends chromium"]
    assert said == ""


def test_others_install_the_browser_with_sudo_and_go_on_without(tmp_path: Path) -> None:
    commands, _ = browser_commands(tmp_path, user=1000, sudo=True)
    assert [line.split("apt-get ")[1] for line in commands][-1].startswith("install --yes")
    assert all(line.startswith("sudo --non-interactive ") for line in commands)
    (other := tmp_path / "other").mkdir()
    commands, said = browser_commands(other, user=1000, sudo=False)
    assert commands == [] and "chromium was not installed" in said


def test_the_browser_is_there_before_the_tests() -> None:
    plan = planned("test-fast")
    order = [next(i for i, line in enumerate(plan) if text in line) for text in ("chromium", "pytest --cov")]
    assert order == sorted(order)


def test_clean_never_touches_runs_or_data() -> None:
    plan = "\n".join(planned("clean"))
    assert "rm -rf" in plan
    assert not re.search(r"\b(runs|data|experiments)\b", plan)


def test_ci_runs_the_documented_commands() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-2:] == ["make test", "make test-slow"]
