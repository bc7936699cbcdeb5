"""Real processes: SIGKILL on one and two ranks, full disks, folders of other users."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.deaths import Die, Killed, assert_same, train_with
from helpers.small_runs import (
    HARD_TIMEOUT,
    SOURCE,
    command,
    small_config,
    steps,
    summary,
    write_experiment,
    write_sets,
)
from pisam.commands.train import train
from pisam.modeling.checkpoint import read_own_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

SCRIPT = str(Path(__file__).parents[1] / "helpers" / "killed_ranks.py")
TWO = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.timeout=60", "data.batch_size=1")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("killed") / "sets")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many as the processes have: the order of additions decides the last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(experiment: Path, folder: Path, *overrides: str, die_at: int = -1) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of training stage 1."""
    arguments = ("train", str(experiment), "stage=1", f"run_dir={folder}", *overrides)
    process = command(str(die_at), *arguments, program=[SCRIPT])
    output, error = process.communicate(timeout=HARD_TIMEOUT)
    return process.returncode, output, error


def last(folder: Path) -> dict[str, Any]:
    return read_own_checkpoint(folder / "stage1" / "checkpoints" / "last.ckpt")


@pytest.mark.usefixtures("one_thread")
def test_sigkill_after_20_steps_leaves_20_rows_and_no_trace_in_the_end(tmp_path: Path, sets: Path) -> None:
    overrides = ("stage1.max_steps=23", "trainer.save_seconds=0.2")
    experiment = write_experiment(tmp_path, sets)
    code, _, error = run(experiment, tmp_path / "killed", *overrides, die_at=20)
    assert code == -signal.SIGKILL, error[-3000:]
    assert steps(tmp_path / "killed") == list(range(20))
    assert 0 < last(tmp_path / "killed")["global_step"] <= 20

    killed = small_config(tmp_path, sets, *overrides, f"run_dir={tmp_path / 'killed'}")
    alone = small_config(tmp_path, sets, *overrides, f"run_dir={tmp_path / 'alone'}")
    for config in (killed, alone):
        train(config, 1)
    assert steps(tmp_path / "killed") == list(range(23))
    assert_same(alone, killed, 1)


def test_two_ranks_killed_twice_in_one_epoch_end_like_two_that_were_not(tmp_path: Path, sets: Path) -> None:
    """Four steps an epoch."""
    overrides = (*TWO, "stage1.epochs=2", "trainer.save_seconds=0")
    experiment = write_experiment(tmp_path, sets)
    code, _, error = run(experiment, tmp_path / "alone", *overrides)
    assert code == 0, error[-3000:]
    for step in (2, 3):
        code, output, error = run(experiment, tmp_path / "killed", *overrides, die_at=step)
        assert code == -signal.SIGKILL, error[-3000:]
        assert ("resuming stage 1" in output) == (step == 3)
        assert last(tmp_path / "killed")["global_step"] == step
    code, output, error = run(experiment, tmp_path / "killed", *overrides, "data.workers=2")
    assert code == 0, error[-3000:]
    assert output.count("resuming stage 1") == 1
    alone, killed = (
        small_config(tmp_path, sets, *overrides, f"run_dir={tmp_path / name}") for name in ("alone", "killed")
    )
    assert_same(alone, killed, 1)


def error_lines(error: str) -> list[str]:
    return [line for line in error.splitlines() if "error: " in line]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 25 MB, where two checkpoints have room and no third."""
    if os.geteuid() != 0:
        pytest.skip("not root: cannot mount a small file system; the limit on file sizes is tested instead")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=25m", "tmpfs", str(folder)]
    if (done := subprocess.run(mount, capture_output=True, text=True)).returncode:
        pytest.skip(f"cannot mount here ({done.stderr.strip()}); the limit on file sizes is tested instead")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_ends_both_ranks_and_costs_nothing(tmp_path: Path, sets: Path, small_disk: Path) -> None:
    overrides = (*TWO, "stage1.epochs=2")
    experiment, folder = write_experiment(tmp_path, sets), small_disk / "run"
    code, _, error = run(experiment, folder, *overrides)
    assert code == 2, error[-3000:]
    lines = error_lines(error)
    assert lines and all("No space left on device; make room" in line for line in lines)
    assert "Traceback" not in error
    checkpoints = folder / "stage1" / "checkpoints"
    assert last(folder)["global_step"] == 4
    assert {path.name for path in checkpoints.iterdir()} <= {"last.ckpt", "previous.ckpt", "best.ckpt"}

    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    code, output, error = run(experiment, folder, *overrides)
    assert code == 0, error[-3000:]
    assert "resuming stage 1" in output
    assert steps(folder) == list(range(8))
    assert summary(folder, 1)["steps"] == 8


def test_limit_on_file_sizes_is_one_line(tmp_path: Path, sets: Path) -> None:
    """What any user can have instead of a full disk: no file over 5 MB."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))

    experiment = write_experiment(tmp_path, sets)
    arguments = ("train", str(experiment), "stage=1", "stage1.epochs=1", f"run_dir={tmp_path / 'run'}")
    process = command(*arguments, preexec_fn=limit)
    _, error = process.communicate(timeout=HARD_TIMEOUT)
    assert process.returncode == 2, error[-3000:]
    (line,) = error_lines(error)
    assert "last.ckpt: not written: File too large; make room" in line
    assert not list((tmp_path / "run" / "stage1" / "checkpoints").iterdir())


def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`pisam` as a user who may read every file, so that the interpreter can be anywhere, and write none."""
    rights = ("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *rights]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "HOME": "/tmp"}
    program = [*nobody, sys.executable, "-m", "pisam.cli", *arguments]
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=HARD_TIMEOUT)


def test_folder_of_another_user_is_one_line_before_the_first_step(tmp_path: Path, sets: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and util-linux's setpriv, to run as nobody in a folder of root")
    config = small_config(tmp_path, sets, "stage1.epochs=1", "trainer.save_seconds=0")
    with pytest.raises(Killed):
        train_with(config, 1, Die("on_before_backward", 2))
    folder = Path(config.run_dir)
    assert not stat.S_IMODE((folder / "stage1").stat().st_mode) & stat.S_IWOTH
    before = (folder / "stage1" / "checkpoints" / "last.ckpt").read_bytes()
    for run_dir, named in ((folder, "checkpoints"), (tmp_path / "new", "new/stage1/config.yaml")):
        arguments = ("train", str(tmp_path / "small.yaml"), "stage=1", "stage1.epochs=1")
        result = as_nobody(*arguments, f"run_dir={run_dir}")
        assert result.returncode == 2, result.stderr[-3000:]
        (line,) = error_lines(result.stderr)
        assert named in line and "not written: Permission denied; make room or the folder writable" in line
        assert "Traceback" not in result.stderr
    assert (folder / "stage1" / "checkpoints" / "last.ckpt").read_bytes() == before
    assert not (tmp_path / "new").exists()
