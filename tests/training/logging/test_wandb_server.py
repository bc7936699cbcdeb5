"""W&B's server: lost, absent, refusing, and what it shows of a run that was queued again.

On this side W&B's own programs, on the other tests/wandb_stub.py in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.small_runs import (
    HARD_TIMEOUT,
    command,
    on_this_machine,
    steps,
    summary,
    wait_until,
    write_experiment,
    write_sets,
)
from helpers.wandb_stub import assert_no_key, own_place, wandb_stub

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

ONLINE = ("logging.mode=online", "logging.project=small-tests", "trainer.save_seconds=0")
STEPS = ("stage1.epochs=12", "stage1.val_every=4", "data.batch_size=1")  # 8 an epoch


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small experiment; W&B writes below `tmp_path` alone and soon gives up."""
    own_place(monkeypatch, tmp_path)
    return write_experiment(tmp_path, write_sets(tmp_path / "sets"))


def train(experiment: Path, *overrides: str) -> subprocess.Popen[str]:
    run = experiment.parent / "run"
    return command("train", str(experiment), "stage=1", f"run_dir={run}", *STEPS, *overrides)


def end(process: subprocess.Popen[str], code: int) -> str:
    """What it wrote on both channels, the exit code being as expected."""
    output, error = process.communicate(timeout=HARD_TIMEOUT)
    assert process.returncode == code, error[-3000:]
    return output + error


def test_training_finishes_when_the_server_is_lost(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = experiment.parent / "run"
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "3")  # for nothing, in the end
    with wandb_stub() as server:
        server.announce(monkeypatch)
        process = train(experiment, *ONLINE)
        wait_until(process, lambda: len(steps(run)) > 3)
        assert "UpsertBucket" in server.seen().operations, "it is online"
        server.kill()
        assert len(steps(run)) < 90, "it was not over before"
        said = end(process, 0)
    assert steps(run) == list(range(96))
    assert summary(run, 1)["steps"] == 96
    assert "training goes on" in said
    assert_no_key(experiment.parent, said)


def test_job_that_must_go_does_not_wait_for_a_lost_server_and_goes_on_without_it(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiment.parent / "run"
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "30")
    with wandb_stub() as server:
        server.announce(monkeypatch)
        process = train(experiment, *ONLINE)
        wait_until(process, lambda: len(steps(run)) > 3)
        assert "UpsertBucket" in server.seen().operations, "it is online"
        server.kill()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=HARD_TIMEOUT)
        saved = (run / "stage1" / "checkpoints" / "last.ckpt").stat().st_mtime
        assert time.time() - saved < on_this_machine(10), "W&B by itself would wait for 30 s"
        said = end(process, 143)

    again = end(train(experiment, *ONLINE), 0)
    assert "resuming stage 1" in again
    assert "W&B does not answer" in again and "upload it with `wandb sync` later" in again
    assert steps(run) == list(range(96))
    assert summary(run, 1)["steps"] == 96
    (offline,) = offline_runs(run)
    online = (run / "stage1" / "wandb").glob("run-*")
    ids = {path.name.rpartition("-")[2] for path in (offline, *online)}
    assert ids == {(run / "stage1" / "wandb_id").read_text().strip()}, "one run of W&B"
    assert_no_key(experiment.parent, said, again)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds W&B's process through Linux's /proc")
def test_training_finishes_when_wandbs_own_process_dies(experiment: Path) -> None:
    run = experiment.parent / "run"
    process = train(experiment, "logging.mode=offline")
    wait_until(process, lambda: len(steps(run)) > 2)
    os.kill(service_of(process.pid), signal.SIGKILL)
    said = end(process, 0)
    assert "training goes on" in said
    assert steps(run) == list(range(96)) and summary(run, 1)["steps"] == 96


def service_of(parent: int) -> int:
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in (task / "children").read_text().split():
            if "wandb-core" in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
    raise AssertionError("W&B runs no process of its own")


def test_no_account_is_one_line(experiment: Path) -> None:
    said = end(train(experiment, *ONLINE), 2)
    (line,) = [line for line in said.splitlines() if "error: " in line]
    assert line.startswith("error: logging.mode=online: W&B says: No API key configured")
    assert "set logging.mode=offline" in line


def offline_runs(run: Path) -> list[Path]:
    return sorted((run / "stage1" / "wandb").glob("offline-run-*"))


def test_run_that_was_queued_again_twice_is_one_run_without_gap_or_duplicate(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to go twice; `wandb sync` makes one run of the three files."""
    run = experiment.parent / "run"
    offline = ("logging.mode=offline", "logging.project=small-tests", "logging.images=2")
    for attempt in (1, 2):
        process = train(experiment, *offline)
        wait_until(process, lambda: len(steps(run)) >= 4 * attempt)  # noqa: B023
        process.send_signal(signal.SIGUSR1)
        end(process, 143)
    end(train(experiment, *offline), 0)
    files = offline_runs(run)
    assert len(files) == 3

    with wandb_stub() as server:
        server.announce(monkeypatch)
        synced = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", *map(str, files)],
            capture_output=True,
            text=True,
            timeout=HARD_TIMEOUT,
        )
        assert synced.returncode == 0, synced.stderr
        seen = server.seen()
    id_ = (run / "stage1" / "wandb_id").read_text().strip()
    assert list(seen.history) == [id_]
    rows = seen.rows(id_)
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert [row["trainer/global_step"] for row in rows if "train/loss" in row] == list(range(96))
    told = [
        {key: row[key] for key in row if key.startswith(("train/", "val/"))}
        for row in map(json.loads, (run / "stage1" / "metrics.jsonl").read_text().splitlines())
    ]
    shown = [{key: row[key] for key in row if key in merged(told)} for row in rows]
    assert [row for row in shown if row] == [pytest.approx(row) for row in told if row]
    assert len([row for row in rows if "panels" in row]) == 3
    assert seen.exits[id_] == [143, 143, 0]


def merged(rows: list[dict[str, float]]) -> set[str]:
    return {key for row in rows for key in row}
