"""`pisam submit`: the sbatch file that submitit writes, and a real job of its executor for this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from helpers.small_runs import HARD_TIMEOUT, command, logged, summary, write_experiment, write_sets
from pisam import cli

submitit = pytest.importorskip("submitit", reason="the extra `submitit` is not installed")


def fake_slurm(folder: Path) -> Path:
    """`sbatch` that keeps its file and says that the job is number 12; `srun` only has to be there."""
    folder.mkdir()
    (folder / "sbatch").write_text(f'#!/bin/sh\ncp "$1" {folder / "job.sh"}\necho "Submitted batch job 12"\n')
    (folder / "srun").write_text("#!/bin/sh\n")
    for tool in folder.iterdir():
        tool.chmod(0o755)
    return folder


def test_job_asks_for_what_the_configuration_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = fake_slurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    experiment, run = write_experiment(tmp_path, tmp_path), tmp_path / "run"
    arguments = [str(experiment), "stage=2", f"run_dir={run}", "trainer.devices=4", "trainer.num_nodes=2"]
    own = ["minutes=90", "slurm.partition=gpu", "slurm.dependency=afterok:11", "trainer.accelerator=gpu"]
    assert cli.main(["submit", *arguments, *own]) == 0
    assert capsys.readouterr().out == f"job 12, logs in {run / 'submitit'}\n"
    job = (tools / "job.sh").read_text()
    for line in (
        "--nodes=2",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--cpus-per-task=1",
        "--time=90",
        "--partition=gpu",
        "--dependency=afterok:11",
        "--signal=USR2@120",
        "--job-name=pisam-small",
    ):
        assert f"#SBATCH {line}\n" in job, line
    assert "srun" in job and "--kill-on-bad-exit=1" in job
    pickled = submitit.core.utils.DelayedSubmission.load(next((run / "submitit").glob("*submitted.pkl")))
    assert pickled.function.arguments == [*arguments, "trainer.accelerator=gpu"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainer.devices=1"], "submit: expected stage=1 or stage=2"),
        (["stage=1", "cluster=moon"], "expected cluster=slurm or cluster=local, got cluster=moon"),
        (["stage=1", "minutes=soon"], "minutes=soon: expected a whole number"),
        (["stage=1", "trainer.devices=auto"], "trainer.devices: got auto; for a SLURM job give their number"),
        (["stage=1", "slurm.partitoin=x"], "partitoin"),
        (["stage=1", "stage1.lrr=1"], "did you mean stage1.lr?"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", f"{fake_slurm(tmp_path / 'bin')}:{os.environ['PATH']}")
    experiment = write_experiment(tmp_path, tmp_path)
    assert cli.main(["submit", str(experiment), f"run_dir={tmp_path / 'run'}", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_no_slurm_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    experiment = write_experiment(tmp_path, tmp_path)
    assert cli.main(["submit", str(experiment), "stage=1", f"run_dir={tmp_path / 'run'}"]) == 2
    assert 'Could not detect "srun"' in capsys.readouterr().err


def wait(condition: Callable[[], bool]) -> None:
    """A job of submitit outlives what submitted it: nothing but looking tells how far it is."""
    end = time.monotonic() + HARD_TIMEOUT
    while not condition():
        assert time.monotonic() < end, "the job does not go on"
        time.sleep(0.05)


def task_of(job: int) -> int:
    return int(Path(f"/proc/{job}/task/{job}/children").read_text().split()[0])


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="finds the job's process through Linux's /proc"
)
def test_interrupted_job_is_queued_again_by_submitit_and_completes(tmp_path: Path) -> None:
    experiment, run = write_experiment(tmp_path, write_sets(tmp_path / "sets")), tmp_path / "run"
    arguments = ["stage=1", "stage1.epochs=20", "stage1.val_every=20", f"run_dir={run}"]
    submitting = command("submit", str(experiment), *arguments, "cluster=local", "minutes=30", cwd=tmp_path)
    assert submitting.stdout is not None
    output = submitting.stdout.readline()  # the pipe stays open, for the job holds it too
    assert submitting.wait(timeout=HARD_TIMEOUT) == 0
    job = int(output.split()[1].rstrip(","))

    metrics = run / "stage1" / "metrics.jsonl"
    try:
        wait(lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 6)
        os.kill(task_of(job), signal.SIGUSR2)
        wait(lambda: any((run / "submitit").glob("*_result.pkl")))
    finally:
        with suppress(ProcessLookupError):
            os.kill(job, signal.SIGTERM)  # to its tasks, should there be any left
    logs = list((run / "submitit").glob("*_log.*"))
    assert any("Requeued job" in path.read_text() for path in logs)
    assert any("resuming stage 1" in path.read_text() for path in logs)
    assert summary(run, 1)["steps"] == 80
    assert [row["step"] for row in logged(run, 1) if "train/loss" in row] == list(range(80))
