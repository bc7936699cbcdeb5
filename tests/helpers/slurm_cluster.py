"""A real SLURM of two nodes on this machine: its daemons, in a folder of their own, as long as tests run."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from helpers.small_runs import on_this_machine

NODES = ("n1", "n2")  # names without an address: ranks meet at MASTER_ADDR
CONFIGURATION = """
ClusterName=tests
FirstJobId={first_job}
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is queued again waits as long as its old credentials hold: two minutes elsewhere.
AuthInfo=socket={folder}/munge.socket,cred_expire=2
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=20
# Ended jobs can be asked about until the tests are over.
MinJobAge=36000
SchedulerParameters=bf_interval=1,sched_interval=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName={nodes[0]} NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=16 RealMemory=16000
NodeName={nodes[1]} NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=16 RealMemory=16000
PartitionName=all Nodes={nodes[0]},{nodes[1]} Default=YES MaxTime=INFINITE State=UP
"""


class SlurmCluster:
    """Two nodes with sixteen cores each, as far as SLURM knows.

    Args:
        folder: for its files; its path must be short enough for a socket.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "slurm.conf"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))
        } | {"SLURM_CONF": str(self.configuration)}

    def start(self) -> None:
        """Start munge, the controller and both nodes; wait until these are idle."""
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        files = {
            "socket": "munge.socket",
            "log-file": "munged.log",
            "pid-file": "munged.pid",
            "seed-file": "seed",
        }
        options = [f"--{option}={self.folder / name}" for option, name in files.items()]
        subprocess.run(["munged", "--force", f"--key-file={key}", *options], check=True)
        ports = [free_port() for _ in range(3)]
        # Lightning makes the port where ranks meet from the job's number: other clusters here have others.
        first_job = random.randrange(1, 90) * 100
        text = CONFIGURATION.format(folder=self.folder, ports=ports, nodes=NODES, first_job=first_job)
        self.configuration.write_text(text)
        subprocess.run(["slurmctld", "-f", str(self.configuration)], check=True, env=self.environment)
        for node in NODES:
            self.start_node(node)
        wait_for(lambda: self.ask("sinfo", "-h", "-o", "%t").split() == ["idle"], 60, "nodes that are idle")

    def start_node(self, name: str) -> None:
        subprocess.run(
            ["slurmd", "-f", str(self.configuration), "-N", name], check=True, env=self.environment
        )

    def take_away(self, name: str, belongs: str) -> None:
        """End a node as a power cut does: its daemon and all that runs there.

        Args:
            belongs: stands in the command line or environment of its jobs alone.
        """
        os.kill(self.pid(f"slurmd-{name}"), signal.SIGKILL)
        for process in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                own = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
                steps_daemon = b"slurmstepd" in (process / "cmdline").read_bytes()
                if belongs.encode() in own or (steps_daemon and belongs.split("=")[-1].encode() in own):
                    os.kill(int(process.name), signal.SIGKILL)

    def stop(self) -> None:
        """End all jobs, then the daemons, which write to the folder as they end."""
        with suppress(subprocess.SubprocessError):
            self.ask("scancel", "--user=root", "--signal=KILL", "--full")
            self.ask("scancel", "--user=root")
            wait_for(lambda: not self.ask("squeue", "-h"), 60, "the end of all jobs")
        ending = []
        for name in (*(f"slurmd-{node}" for node in NODES), "slurmctld", "munged"):
            with suppress(OSError, ValueError):
                ending.append(self.pid(name))
                os.kill(ending[-1], signal.SIGTERM)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ending), 60, "the daemons' end")

    def pid(self, daemon: str) -> int:
        return int((self.folder / f"{daemon}.pid").read_text())

    def ask(self, *command: str, **options: str) -> str:
        """Standard output of one of SLURM's commands."""
        return subprocess.run(
            command, env=self.environment | options, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def submit(self, *command: str, folder: Path, **environment: str) -> str:
        """`sbatch` in a folder; the job's number."""
        result = subprocess.run(
            ["sbatch", *command],
            cwd=folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        return re.findall(r"Submitted batch job (\d+)", result.stdout)[0]

    def facts(self, job: str) -> dict[str, str]:
        """What `scontrol` says of a job."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.ask("scontrol", "show", "job", job)))

    def state(self, job: str) -> str:
        return self.facts(job)["JobState"]

    def turn(self, job: str) -> int:
        """How often a job was queued again."""
        return int(self.facts(job)["Restarts"])

    def time_runs_out(self, job: str) -> None:
        """Shorten its limit to the minutes it has run and 30 to 90 seconds more.

        SLURM warns it, as its limit is near, and it is queued again with the limit it had.
        """
        before, turn = self.facts(job)["TimeLimit"], self.turn(job)
        hours, minutes, seconds = map(int, self.facts(job)["RunTime"].split(":"))
        limit = 60 * hours + minutes + (1 if seconds <= 30 else 2)
        self.ask("scontrol", "update", f"jobid={job}", f"TimeLimit={limit}")
        wait_for(lambda: self.turn(job) == turn + 1, 150, "a job that is queued again")
        self.ask("scontrol", "update", f"jobid={job}", f"TimeLimit={before}")

    def end(self, job: str, seconds: float = 240) -> str:
        """Wait until a job has ended; its state."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        wait_for(lambda: self.state(job) in ended, seconds, f"the end of job {job}")
        return self.state(job)


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Look twice a second; fails after so many seconds on an idle machine."""
    end = time.monotonic() + on_this_machine(seconds)
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def skip_without_slurm() -> None:
    """Skip where its daemons cannot run."""
    if os.geteuid() != 0:
        pytest.skip("only root can start SLURM's daemons")
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: `make slurm` does it on Debian and Ubuntu")
