"""A sweep with W&B's server: registered there, its trials started by W&B's agents."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from pisam.commands.sweeps.processes import TOLD_TO_GO, run_together
from pisam.commands.sweeps.sweep_file import Sweep
from pisam.core.errors import PisamError
from pisam.core.files import replacing

SECONDS_TO_REGISTER = 300


def register(sweep: Sweep) -> str:
    """Register the sweep with the server; what was sent stays in `runs/sweeps/NAME/sweep.yaml`.

    Returns:
        ENTITY/PROJECT/ID, as `wandb agent` takes it.

    Raises:
        PisamError: no account or no server, in W&B's words.
    """
    file = Path("runs") / "sweeps" / sweep.name / "sweep.yaml"
    with replacing(file) as temporary:
        temporary.write_text(yaml.safe_dump(sweep.as_file(), sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "wandb", "sweep", str(file)]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, env=_environment(), timeout=SECONDS_TO_REGISTER
        )
    except subprocess.TimeoutExpired as error:
        raise PisamError(
            f"wandb sweep {file}: the server did not answer within {SECONDS_TO_REGISTER} s; try again, or "
            "pisam sweep FILE local=true"
        ) from error
    printed = re.sub(r"\x1b\[[0-9;]*m", "", result.stderr + result.stdout)
    found = re.search(r"wandb agent (\S+)", printed)
    if result.returncode or not found:
        words = [line.removeprefix("wandb: ").strip() for line in printed.splitlines() if line.strip()]
        raise PisamError(f"wandb sweep {file}: {words[-1] if words else f'exit code {result.returncode}'}")
    return found[1]


def run_agents(path: str, *, agents: int, count: int | None) -> int:
    """Start agents on this machine, which ask the server for trials until there are none left.

    Args:
        path: ENTITY/PROJECT/ID.
        agents: how many at the same time; 0 to start none.
        count: of trials each; default: all that the server has.

    Returns:
        The exit code: the worst of the agents, 143 after a signal to go.
    """
    counted = [] if count is None else ["--count", str(count)]
    command = [sys.executable, "-m", "wandb", "agent", "--forward-signals", *counted, path]
    codes, told = run_together([command] * agents, _environment())
    return TOLD_TO_GO if told else max(map(abs, codes), default=0)


def _environment() -> dict[str, str]:
    """Agents start the first `python` on the PATH: it must be the one that runs this."""
    own = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{own}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
