"""`pip install .` gives a `pisam` that works outside of a clone: sdist, wheel, and what they hold."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"


def run(*command: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, env=environment | variables, capture_output=True, text=True)


def build(kind: str, source: Path, out: Path) -> Path:
    result = run(sys.executable, "-c", BUILD, f"build_{kind}", out, cwd=source)
    assert result.returncode == 0, result.stderr[-2000:]
    return out / result.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the sdist of a copy of this tree, installed without what it needs, which is here."""
    folder = tmp_path_factory.mktemp("packaging")
    copy = folder / "copy"
    copy.mkdir()
    for name in ("src", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY_NOTICES.md"):
        shutil.copy(ROOT / name, copy)
    archive = build("sdist", copy, folder)
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    wheel = build("wheel", unpacked, folder)
    target = folder / "installed"
    options = ("--quiet", "--no-deps", "--no-index", "--target", target)
    result = run(sys.executable, "-m", "pip", "install", *options, wheel, cwd=folder)
    assert result.returncode == 0, result.stderr[-2000:]
    return target


@pytest.mark.slow
def test_installed_command_works_outside_of_a_clone(installed: Path, tmp_path: Path) -> None:
    def pisam(*arguments: object) -> str:
        script = installed / "bin" / "pisam"
        result = run(sys.executable, script, *arguments, cwd=tmp_path, PYTHONPATH=str(installed))
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert "Next: pisam init DIR" in pisam()
    inside = yaml.safe_load((ROOT / "experiments" / "quickstart.yaml").read_text())
    assert yaml.safe_load(pisam("config", "quickstart"))["stage2"]["lr"] == inside["stage2"]["lr"]
    assert "16 files" in (made := pisam("init", "work")) or " files in work/experiments; next:" in made
    for name in ("quickstart.yaml", "sweeps/stage1_lr.yaml", "slurm/one_node.sbatch"):
        copied = tmp_path / "work" / "experiments" / name
        assert copied.read_bytes() == (ROOT / "experiments" / name).read_bytes()
        assert os.access(copied, os.X_OK) == os.access(ROOT / "experiments" / name, os.X_OK)
    mine = tmp_path / "work" / "experiments" / "quickstart.yaml"
    mine.write_text("seed: 5")
    assert str(mine.relative_to(tmp_path)) in pisam("init", "work")
    assert mine.read_text() == "seed: 5"
    where = run(
        sys.executable,
        "-c",
        "import pisam; pisam.build_model('nano', image_size=64); print(pisam.__file__)",
        cwd=tmp_path,
        PYTHONPATH=str(installed),
    )
    assert Path(where.stdout.strip()).is_relative_to(installed), where.stderr


@pytest.mark.slow
def test_installed_package_holds_every_file_that_is_no_code(installed: Path) -> None:
    package = ROOT / "src" / "pisam"
    data = [file for file in package.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")]
    missing = [file for file in data if not (installed / "pisam" / file.relative_to(package)).is_file()]
    assert not missing


def test_extras_name_what_the_commands_ask_for() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = {name: value.split() for name, value in setup["options.extras_require"].items()}
    assert {"onnx", "serve", "submitit", "hub", "tensorboard", "docs", "dev"} <= extras.keys()
    source = "\n".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))
    for name in extras.keys() - {"dev", "docs"}:
        assert f"pisam[{name}]" in " ".join(extras["dev"]) or name in " ".join(extras["dev"])
    assert "import skimage" not in source and "from skimage" not in source
