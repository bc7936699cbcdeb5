"""How two ranks end: told to go, not finite, failed, started unlike. A hang meets a hard timeout."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from helpers.small_runs import (
    HARD_TIMEOUT,
    command,
    logged,
    on_this_machine,
    steps,
    summary,
    wait_until,
    write_experiment,
    write_sets,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2000)]

# A rank that waited for another would do so until long after the hard timeout.
TWO = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.timeout=60")
SCRIPT = str(Path(__file__).parents[1] / "helpers" / "spoiled_rank.py")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("ends") / "sets")


def last_checkpoint(run: Path) -> Path:
    return run / "stage1" / "checkpoints" / "last.ckpt"


def saved_step(run: Path) -> int:
    return torch.load(last_checkpoint(run), weights_only=True)["global_step"]


def rank_1_of(process: subprocess.Popen[str]) -> int:
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        if "LOCAL_RANK=1" in Path(f"/proc/{child}/environ").read_text().split("\0"):
            return int(child)
    raise AssertionError("rank 0 has no child that is rank 1")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds rank 1 through Linux's /proc")
def test_signal_to_either_rank_saves_with_both_and_the_same_command_goes_on(
    tmp_path: Path, sets: Path
) -> None:
    run, experiment = tmp_path / "run", write_experiment(tmp_path, sets)
    arguments = ("train", str(experiment), "stage=1", *TWO, "stage1.max_steps=50", f"run_dir={run}")
    saved = [0]
    for rank in (0, 1):
        process = command(*arguments)
        wait_until(process, lambda: len(steps(run)) >= saved[-1] + 3)
        os.kill(process.pid if rank == 0 else rank_1_of(process), signal.SIGTERM)
        output, error = process.communicate(timeout=HARD_TIMEOUT)
        assert process.returncode == 143, error[-3000:]
        assert time.time() - last_checkpoint(run).stat().st_mtime < on_this_machine(10), (
            "from the save to the end"
        )
        assert (f"resuming stage 1 from {run}" in output) == (saved[-1] > 0)
        saved.append(saved_step(run))
        assert saved[-1] >= saved[-2] + 3
        assert steps(run) == list(range(saved[-1])), "nothing was lost"
        assert not (run / "stage1" / "summary.json").exists()

    process = command(*arguments)
    _, error = process.communicate(timeout=HARD_TIMEOUT)
    assert process.returncode == 0, error[-3000:]
    assert steps(run) == list(range(50))
    assert summary(run, 1)["steps"] == 50


def spoiled(
    case: str, tmp_path: Path, sets: Path, *overrides: str
) -> tuple[subprocess.Popen[str], str, Path]:
    run, experiment = tmp_path / "run", write_experiment(tmp_path, sets)
    arguments = ("train", str(experiment), "stage=1", *TWO, f"run_dir={run}", *overrides)
    process = command(case, str(tmp_path), *arguments, program=[SCRIPT])
    _, error = process.communicate(timeout=HARD_TIMEOUT)  # ends when no process holds the pipes any more
    return process, error, run


def seconds_since(folder: Path) -> float:
    """Since rank 1 went wrong."""
    return time.time() - float((folder / "since").read_text())


def test_nan_on_one_rank_is_left_out_by_both_and_a_few_in_a_row_end_both(tmp_path: Path, sets: Path) -> None:
    process, error, run = spoiled("nan", tmp_path, sets, "stage1.max_steps=40")
    assert process.returncode == 2, error[-3000:]
    (line,) = [line for line in error.splitlines() if "error: " in line]
    assert line.startswith("error: step 9: the loss is not finite (rank 1: ") and "5 steps in a row" in line
    left_out = [row["train/skipped_steps"] for row in logged(run, 1) if "train/loss" in row]
    assert left_out == [0, 0, 1, 1, 1, 2, 3, 4, 5]

    weights = [(tmp_path / f"weights-{rank}").read_text().split() for rank in (0, 1)]
    assert weights[0] == weights[1] and len(weights[0]) == 9
    one, two, three, four, five, *later = weights[0]
    assert two == three, "the third step changed nothing"
    assert len({one, two, four, five}) == 4, "the others did"
    assert set(later) == {five}
    for path in (run / "stage1" / "checkpoints").glob("*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in state.values())


def test_error_on_one_rank_is_told_first_and_ends_both_without_a_save(tmp_path: Path, sets: Path) -> None:
    process, error, run = spoiled("error", tmp_path, sets, "stage1.epochs=3", "data.workers=1")
    assert process.returncode not in (0, 143)
    assert seconds_since(tmp_path) < on_this_machine(30), "until every process is gone"
    first = next(line for line in error.splitlines() if "Traceback" in line)
    assert first.startswith("[rank 1] ")
    errors = re.findall(r"^(?:\w+\.)*\w+Error: .*", error, flags=re.MULTILINE)
    assert errors[0] == "RuntimeError: what really went wrong", "told before its consequences"
    assert all(saved_step(run) <= 2 for _ in (run / "stage1" / "checkpoints").glob("last.ckpt"))


def test_rank_that_falls_silent_ends_the_others(tmp_path: Path, sets: Path) -> None:
    """Stopped amid a step, as on a node that hangs; the exchange's timeout is 20 s here."""
    process, error, run = spoiled("silent", tmp_path, sets, "stage1.epochs=3")
    assert process.returncode not in (0, 143)
    assert seconds_since(tmp_path) < 20 + on_this_machine(30)
    assert "Timed out waiting 20000ms" in error
    assert all(saved_step(run) <= 2 for _ in (run / "stage1" / "checkpoints").glob("last.ckpt"))


def test_ranks_that_start_unlike_are_refused(tmp_path: Path, sets: Path) -> None:
    process, error, run = spoiled("start", tmp_path, sets)
    assert process.returncode == 2, error[-3000:]
    (line,) = [line for line in error.splitlines() if "error: " in line]
    assert line.startswith("error: the ranks do not start alike: initial weights of rank 0 ")
    assert not steps(run)
