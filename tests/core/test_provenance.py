"""What a run says of the code and the machine it ran on."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.small_repository import write_repository
from pisam.core.provenance import SECRETS, environment, git_diff


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: one commit of one file."""
    monkeypatch.chdir(tmp_path)
    return write_repository(tmp_path)


def test_diff_holds_what_is_not_committed(repository: Path) -> None:
    assert git_diff() == ""
    (repository / "code.py").write_text("lr = 2\n")
    assert "-lr = 1\n+lr = 2\n" in git_diff()


@pytest.mark.parametrize("name", SECRETS)
def test_diff_names_a_secret_and_does_not_tell_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "c0ffee")
    (repository / "code.py").write_text("key = 'c0ffee'\n")
    assert f"+key = '<{name}>'\n" in git_diff() and "c0ffee" not in git_diff()


def test_long_diff_is_cut_and_says_so(repository: Path) -> None:
    (repository / "code.py").write_text("x" * 1000)
    whole = git_diff()
    assert git_diff(100) == f"{whole[:100]}\n[cut: {len(whole) - 100} of {len(whole)} characters]\n"


def test_no_repository_no_diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_diff() == ""


def test_environment_names_versions_and_no_host() -> None:
    told = environment()
    assert told["packages"]["torch"] and told["packages"]["lightning"] and told["cpus"] > 0
    assert told.keys() == {"python", "system", "cpus", "packages"}
