"""Queue the training of one stage as a job of the cluster, through submitit.

    pisam submit [EXPERIMENT] stage=1|2 [minutes=N] [cluster=slurm|local] [slurm.partition=NAME ...]
                 [key=value ...]

An unfinished job is queued again; its logs go to RUN_DIR/submitit.

group: Train
stage=1|2: as in `pisam train`
minutes=N: time limit of one turn (default: 240)
cluster=slurm|local: slurm, or a process on this machine (default: slurm)
slurm.*=VALUE: a further parameter of submitit's SlurmExecutor, such as slurm.partition
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pisam.commands.shared.command import Arguments
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.core.yaml_text import parse_yaml

SECONDS_OF_WARNING = 120
MOST_REQUEUES = 100  # submitit gives up after three by itself


def run(arguments: Arguments) -> None:
    """Queue the stage that the arguments name."""
    own = arguments.own
    if not (minutes := int(own.get("minutes", "240"))):
        raise PisamError("minutes: got 0, expected a positive whole number")
    slurm = {key.removeprefix("slurm."): parse_yaml(value, key) for key, value in own.items() if "." in key}
    training = [*filter(None, [arguments.experiment]), f"stage={own['stage']}", *arguments.overrides]
    config = arguments.config()
    job = submit(config, training, cluster=own.get("cluster", "slurm"), minutes=minutes, slurm=slurm)
    print(f"job {job}, logs in {Path(config.run_dir) / 'submitit'}")


class Training:
    """The command `pisam train` and its arguments, which each task of the job runs as a user would."""

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        self._process: subprocess.Popen | None = None

    def __call__(self) -> None:
        """Train; raises RuntimeError where the command fails."""
        command = [sys.executable, "-m", "pisam.cli", "train", *self.arguments]
        self._process = subprocess.Popen(command)
        _wait(self._process)
        if code := self._process.wait():
            raise RuntimeError(f"{' '.join(command)}: exit code {code}")

    def checkpoint(self) -> Any:
        """Called by submitit when the job must go: the training saves and ends; what it returns runs next."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            with suppress(ChildProcessError):  # it had ended already
                self._process.send_signal(signal.SIGTERM)
                _wait(self._process)
        return DelayedSubmission(Training(self.arguments))


def submit(config: Config, arguments: list[str], *, cluster: str, minutes: int, slurm: dict[str, Any]) -> str:
    """Queue one stage and return the job's id; its logs go to `RUN_DIR/submitit`.

    Args:
        config: what the arguments say, for the number of nodes and devices.
        arguments: those of `pisam train`.
        cluster, minutes, slurm: see the help above.

    Raises:
        PisamError: submitit is not installed, there is no SLURM, or a parameter is wrong.
    """
    try:
        import submitit
    except ImportError as error:
        raise PisamError("submit needs submitit: pip install 'pisam[submitit]'") from error

    devices = config.trainer.devices
    tasks = len(devices) if isinstance(devices, list) else devices
    if cluster == "slurm" and (not isinstance(tasks, int) or tasks < 1):
        raise PisamError(f"trainer.devices: got {devices}; for a SLURM job give their number on each node")
    folder = Path(config.run_dir) / "submitit"
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=MOST_REQUEUES)
        executor.update_parameters(name=f"pisam-{config.name}", timeout_min=minutes)
        if cluster == "slurm":
            defaults = {
                "nodes": config.trainer.num_nodes,
                "ntasks_per_node": tasks,
                "gpus_per_node": None if config.trainer.accelerator == "cpu" else tasks,
                "cpus_per_task": config.data.workers + 1,
                "signal_delay_s": SECONDS_OF_WARNING,
                "srun_args": ["--kill-on-bad-exit=1"],
            }
            chosen = {name: value for name, value in (defaults | slurm).items() if value is not None}
            executor.update_parameters(**{f"slurm_{name}": value for name, value in chosen.items()})
        return str(executor.submit(Training(arguments)).job_id)
    except (RuntimeError, ValueError, NameError, AssertionError) as error:
        raise PisamError(f"submit: {' '.join(str(error).split())}") from error


def _wait(process: subprocess.Popen) -> None:
    """Until the process has ended; unlike `Popen.wait` also in a handler that interrupts this very wait."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
