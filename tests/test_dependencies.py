"""Releases that must not come in: the compromised ones of Lightning, and those under the AGPL."""

from __future__ import annotations

from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
COMPROMISED = ("2.6.2", "2.6.3")
VULNERABLE = "2.6.5"  # CVE-2026-58659


def requirement(name: str) -> Requirement:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].splitlines()
    wanted = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    (found,) = [candidate for candidate in wanted if candidate.name == name]
    return found


# `lightning` brings `pytorch-lightning` along, in any version, which would be another copy of the same code.
@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
def test_forbidden_versions_of_lightning_are_neither_wanted_nor_here(name: str) -> None:
    wanted = requirement(name).specifier
    assert not [version for version in (*COMPROMISED, VULNERABLE) if version in wanted]
    assert "2.6.6" in wanted
    assert Version(metadata.version(name)) in wanted


def test_albumentations_is_of_the_last_mit_line() -> None:
    wanted = requirement("albumentations").specifier
    assert Version(metadata.version("albumentations")) in wanted and "3.0" not in wanted
    assert not [d for d in metadata.distributions() if d.metadata["Name"].lower() == "albumentationsx"]
