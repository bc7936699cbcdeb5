"""Jobs of a real SLURM on this machine: warned, queued again, cancelled, robbed of their node.

Several wait at the same time, so the jobs are submitted first and looked at later.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.deaths import assert_same
from helpers.slurm_cluster import SlurmCluster, skip_without_slurm, wait_for
from helpers.small_runs import HARD_TIMEOUT, SOURCE, command, small_config, steps, summary, write_sets
from helpers.small_sweeps import write_sweep
from helpers.wandb_stub import own_place, wandb_stub
from pisam.config.schema import Config

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(2400)]

ROOT = Path(__file__).resolve().parents[2]
SBATCH = ROOT / "experiments" / "slurm"
SLOW = Path(__file__).parents[1] / "helpers" / "slow_steps.py"
ON_CPU = ("--gpus-per-node=0", "--cpus-per-task=1", "--time=10", "--signal=B:USR1@60")
# 80 steps and then 80: at a second each, SLURM has time to look at its clock twice a minute.
KEYS = ("stage1.epochs=40", "stage1.val_every=40", "stage2.epochs=40", "stage2.val_every=40")
KEYS += ("trainer.accelerator=cpu", "trainer.save_seconds=2", "trainer.timeout=60")


@dataclass
class Job:
    """A submitted job, its run, and the file whose presence makes its steps slow."""

    number: str
    run: Path
    slow: Path
    config: Config


@dataclass
class Jobs:
    """Where jobs are submitted from."""

    cluster: SlurmCluster
    folder: Path
    sets: Path

    def submit(self, name: str, *options: str, file: str = "one_node.sbatch", slow: bool = True) -> Job:
        """Both stages of the small experiment on two ranks."""
        folder = self.folder / name
        folder.mkdir()
        marker, python = folder / "slow", folder / "python"
        if slow:
            marker.touch()
        python.write_text(
            f'#!/bin/sh\nshift 2\nexec {sys.executable} {SLOW} {marker} "$@"\n'
        )  # not -m pisam.cli
        python.chmod(0o755)
        config = small_config(folder, self.sets, *KEYS)
        number = self.cluster.submit(
            *(*ON_CPU, *options, f"--output={folder}/%j.out", str(SBATCH / file)),
            *(str(folder / "small.yaml"), *KEYS, f"run_dir={config.run_dir}"),
            folder=ROOT,
            PISAM_PYTHON=str(python),
            PYTHONPATH=str(SOURCE),
            OMP_NUM_THREADS="1",
            MASTER_ADDR="127.0.0.1",  # the nodes' names have no address here
        )
        return Job(number, Path(config.run_dir), marker, config)

    def output(self, job: Job) -> str:
        return (job.slow.parent / f"{job.number}.out").read_text()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    skip_without_slurm()
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # a socket's path has at most 107 characters
    folder.chmod(0o755)
    cluster = SlurmCluster(folder)
    try:
        cluster.start()
        own = tmp_path_factory.mktemp("slurm")
        yield Jobs(cluster, own, write_sets(own / "sets"))
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def undisturbed(jobs: Jobs) -> Job:
    """Two nodes with a rank each."""
    options = ("--nodes=2", "--ntasks-per-node=1")
    return jobs.submit("undisturbed", *options, file="several_nodes.sbatch", slow=False)


def reached(job: Job, count: int, stage: int = 1) -> None:
    wait_for(lambda: len(steps(job.run, stage)) >= count, 120, f"{count} steps of stage {stage} of {job.run}")


def test_both_stages_end_alike_on_one_node_through_time_limits_and_on_two_nodes(
    jobs: Jobs, undisturbed: Job
) -> None:
    cluster = jobs.cluster
    limited = jobs.submit("limited", "--ntasks-per-node=2")
    reached(limited, 3)
    cluster.time_runs_out(limited.number)
    assert not (limited.run / "stage1" / "summary.json").exists()
    limited.slow.unlink()
    wait_for(lambda: (limited.run / "stage1" / "summary.json").exists(), 120, "the end of stage 1")
    limited.slow.touch()
    reached(limited, 3, stage=2)
    cluster.time_runs_out(limited.number)
    assert not (limited.run / "stage2" / "summary.json").exists()
    limited.slow.unlink()
    assert cluster.end(limited.number) == "COMPLETED", jobs.output(limited)
    assert cluster.turn(limited.number) == 2
    told = jobs.output(limited)
    assert told.count("told to go: saved after") == 2
    assert "resuming stage 1" in told and "resuming stage 2" in told

    assert cluster.end(undisturbed.number) == "COMPLETED", jobs.output(undisturbed)
    assert cluster.facts(undisturbed.number)["NumNodes"] == "2"
    for number in (1, 2):
        assert steps(limited.run, number) == list(range(80))
        assert_same(undisturbed.config, limited.config, number)


def test_cancelled_job_stays_away_and_keeps_what_it_had(jobs: Jobs) -> None:
    job = jobs.submit("cancelled", "--ntasks-per-node=1")
    reached(job, 3)
    jobs.cluster.ask("scancel", job.number)
    assert jobs.cluster.end(job.number) == "CANCELLED"
    assert jobs.cluster.turn(job.number) == 0
    wait_for(lambda: not (job.run / ".stage1.lock").exists(), 60, "the end of its processes")
    done = steps(job.run)
    assert len(done) >= 3 and done == list(range(len(done)))
    assert (job.run / "stage1" / "checkpoints" / "last.ckpt").is_file()
    assert not (job.run / "stage1" / "summary.json").exists()


def test_job_whose_node_is_taken_away_goes_on_elsewhere(jobs: Jobs, undisturbed: Job) -> None:
    cluster = jobs.cluster
    assert cluster.end(undisturbed.number) == "COMPLETED", jobs.output(undisturbed)
    job = jobs.submit("robbed", "--ntasks-per-node=2")
    reached(job, 4)
    wait_for(lambda: (job.run / "stage1" / "checkpoints" / "last.ckpt").is_file(), 60, "a checkpoint")
    node = cluster.facts(job.number)["NodeList"]
    cluster.take_away(node, f"SLURM_JOB_ID={job.number}")
    try:
        job.slow.unlink()
        assert (job.run / ".stage1.lock").is_file(), "nobody could remove it"
        wait_for(lambda: cluster.turn(job.number) == 1, 90, "a job that is queued again")
        assert cluster.end(job.number) == "COMPLETED", jobs.output(job)
        assert cluster.facts(job.number)["NodeList"] not in (node, "")
    finally:
        cluster.start_node(node)  # the tests after this one want both
    assert "resuming stage 1" in jobs.output(job)
    assert_same(undisturbed.config, job.config, 1)


def test_array_of_four_runs_the_four_trials_of_a_sweep(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_place(monkeypatch, tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    small_config(tmp_path, jobs.sets)
    fixed = ["stage1.max_steps=2", "logging.mode=online", "trainer.accelerator=cpu"]
    rates = {"stage1.lr": {"values": [0.01, 0.003, 0.001, 0.0003]}}
    file = write_sweep(tmp_path, tmp_path / "small.yaml", overrides=fixed, parameters=rates)
    with wandb_stub() as server:
        server.announce(monkeypatch)
        registered = command("sweep", str(file), "agents=0", cwd=tmp_path)
        output, error = registered.communicate(timeout=HARD_TIMEOUT)
        assert registered.returncode == 0, error[-3000:]
        sweep = re.findall(r"^sweep (\S+)$", output, flags=re.MULTILINE)[0]
        array = jobs.cluster.submit(
            *(
                *ON_CPU,
                "--array=1-4%2",
                f"--output={tmp_path}/%a.out",
                str(SBATCH / "sweep_array.sbatch"),
                sweep,
            ),
            folder=tmp_path,
            **{name: value for name, value in os.environ.items() if name.startswith("WANDB_")},
            PISAM_PYTHON=sys.executable,
            PYTHONPATH=str(SOURCE),
            OMP_NUM_THREADS="1",
        )
        for task in range(1, 5):
            assert jobs.cluster.end(f"{array}_{task}") == "COMPLETED", (tmp_path / f"{task}.out").read_text()
        seen = server.seen()
    assert sorted(seen.exits) == ["trial1", "trial2", "trial3", "trial4"]
    assert [code for codes in seen.exits.values() for code in codes] == [0] * 4
    trials = sorted(path for path in (tmp_path / "runs" / "sweeps" / "small").iterdir() if path.is_dir())
    assert [summary(trial, 1)["steps"] for trial in trials] == [2] * 4


def test_submitted_job_is_warned_queued_again_and_completes(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="the extra `submitit` is not installed")
    cluster = jobs.cluster
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    run = Path(small_config(tmp_path, jobs.sets).run_dir)
    keys = ("stage1.epochs=60", "stage1.val_every=60", "trainer.accelerator=cpu", f"run_dir={run}")
    arguments = ("submit", str(tmp_path / "small.yaml"), "stage=1", *keys, "minutes=10")
    submitting = command(*arguments, cwd=tmp_path)
    output, error = submitting.communicate(timeout=HARD_TIMEOUT)
    assert submitting.returncode == 0, error
    number = re.findall(r"job (\d+)", output)[0]
    wait_for(lambda: len(steps(run)) >= 4, 120, "four steps")
    cluster.ask("scancel", "--signal=USR2", number)  # as SLURM does two minutes before the end
    wait_for(lambda: cluster.turn(number) == 1, 60, "a job that is queued again")
    assert cluster.end(number) == "COMPLETED"
    assert steps(run) == list(range(240)) and summary(run, 1)["steps"] == 240
    logs = "".join(path.read_text() for path in (run / "submitit").glob("*_log.out"))
    assert "resuming stage 1" in logs


def test_files_are_understood_by_this_slurm(jobs: Jobs) -> None:
    for file in sorted(SBATCH.glob("*.sbatch")):
        result = subprocess.run(
            ["sbatch", "--test-only", *ON_CPU, "--ntasks-per-node=1", str(file), "x"],
            cwd=ROOT,
            env=jobs.cluster.environment,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
