"""The trials of a sweep: by agents of W&B's server, or one after the other without it, each a process."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from pisam.commands.shared.sweep_file import Sweep, Values, as_arguments, draws, grid
from pisam.config.schema import decisive_settings
from pisam.core.errors import PisamError
from pisam.core.files import read_object, shown, write_text
from pisam.core.lock import holding
from pisam.core.processes import end_with_parent
from pisam.evaluation.rows import Row, text_table, write_csv

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # those that tell a training to save and leave
TOLD_TO_GO = 143  # the exit code after one of them
# After Ctrl-C: for children that a terminal has told too, and for those that hear of it from here.
SECONDS_BY_THEMSELVES, SECONDS_WHEN_TOLD = 3.0, 30.0


def run_together(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str] | None = None
) -> tuple[list[int], bool]:
    """Run commands at the same time, to the end of the last one.

    Returns:
        their exit codes, and whether this process was told to go meanwhile, which it passed on to them.

    Raises:
        KeyboardInterrupt: after Ctrl-C, of which the children are told too: when they have ended, or are
            long in doing so.
    """
    children: list[subprocess.Popen] = []
    unheard: list[deque[int]] = [deque() for _ in commands]  # signals for each child, started or not
    told = False

    def pass_on() -> None:
        for child, numbers in zip(children, unheard, strict=False):
            with suppress(IndexError):  # a signal that comes meanwhile empties it
                while True:
                    child.send_signal(numbers.popleft())

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal told
        told = True
        for numbers in unheard:
            numbers.append(number)
        pass_on()

    before = {number: signal.signal(number, hear) for number in SIGNALS}
    try:
        for command in commands:
            if not told:
                start = partial(_as_child, os.getpid())
                children.append(subprocess.Popen(command, env=environment, preexec_fn=start))
                pass_on()  # what came while it was started
        codes = [child.wait() for child in children]
    except KeyboardInterrupt:
        _interrupt(children)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return codes, told


def _interrupt(children: Sequence[subprocess.Popen]) -> None:
    """End children after Ctrl-C; whoever lives on is told to save and leave."""
    for seconds, number in ((SECONDS_BY_THEMSELVES, signal.SIGINT), (SECONDS_WHEN_TOLD, signal.SIGTERM)):
        end = time.monotonic() + seconds
        for child in children:
            with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):  # pressed again: tell them now
                child.wait(max(0.0, end - time.monotonic()))
            child.send_signal(number)


def _as_child(parent: int) -> None:
    """Between fork and start: no handler of the parent's here, and SIGTERM, to save, when the parent ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    end_with_parent(parent, signal.SIGTERM)


SECONDS_TO_REGISTER = 300


def register(sweep: Sweep) -> str:
    """Register the sweep with the server; what was sent stays in `runs/sweeps/NAME/sweep.yaml`.

    Returns:
        ENTITY/PROJECT/ID, as `wandb agent` takes it.

    Raises:
        PisamError: no account or no server, in W&B's words.
    """
    file = Path("runs") / "sweeps" / sweep.name / "sweep.yaml"
    write_text(yaml.safe_dump(sweep.as_file(), sort_keys=False), file)
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
        agents: how many at the same time.
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


MOST_TRIALS = 10_000


@dataclass(frozen=True)
class Trial:
    """One combination; its folder is named after all that decides its numbers, so it is found again."""

    values: Values
    run_dir: Path


def run_locally(sweep: Sweep, *, count: int | None = None, seed: int = 0) -> int:
    """Run all trials, those that are complete excepted; write `runs/sweeps/NAME/results.csv`, print it.

    A trial that was interrupted goes on where it was. One that fails is named, and the others still run.

    Args:
        count: of random trials; default: the file's run_cap.
        seed: of the random values.

    Returns:
        The exit code: 0, 1 if a trial is not complete, 143 after a signal to go.

    Raises:
        PisamError: the file asks for what only the server can do, a combination is no valid experiment,
            or the sweep runs already.
    """
    trials = list(trials_of(sweep, count, seed))
    folder = Path("runs") / "sweeps" / sweep.name
    with holding(folder):
        return _run(sweep, trials, folder / "results.csv")


def _run(sweep: Sweep, trials: list[Trial], table: Path) -> int:
    if "early_terminate" in sweep.content:
        _say("early_terminate is for W&B's server: here each trial runs to its end")
    if len(trials) > 1:
        _say(f"{len(trials)} trials of {sweep.name}, results in {table}")
    states: dict[Path, str] = {}
    for number, trial in enumerate(trials, 1):
        if _score(sweep, trial) is None:
            _say(f"\n[{number}/{len(trials)}] {trial.run_dir}: {' '.join(as_arguments(trial.values))}")
            (code,), told = run_together([_command(sweep, trial)])
            if told:
                _say(f"told to go during {trial.run_dir}; the same command continues")
                return TOLD_TO_GO
            states[trial.run_dir] = "unfinished" if code == 0 else f"failed with exit code {code}"
        _write(sweep, trials, states, table)
    _say(f"\n{_table(sweep, trials, states)}\n{table}")
    incomplete = [trial for trial in trials if _score(sweep, trial) is None]
    for trial in incomplete:
        print(f"{trial.run_dir}: {_state(sweep, trial, states)}", file=sys.stderr)
    return 1 if incomplete else 0


def trials_of(sweep: Sweep, count: int | None = None, seed: int = 0) -> Iterator[Trial]:
    """Distinct combinations in the order in which they are to run, each a valid experiment."""
    wanted = count or sweep.cap
    combinations: Iterator[Values]
    match sweep.method:
        case "grid":
            wanted = wanted or math.prod(len(each.candidates()) for each in sweep.parameters.values())
            combinations = islice(grid(sweep.parameters), wanted)
        case "random" if wanted:
            combinations = draws(sweep.parameters, wanted, seed)
        case "random":
            raise PisamError(f"{sweep.file}: how many random trials? give count=N, or run_cap in the file")
        case method:
            raise PisamError(
                f"{sweep.file}: method {method} needs W&B's server; without it there are grid and random"
            )
    if wanted > MOST_TRIALS:
        raise PisamError(f"{sweep.file}: more than {MOST_TRIALS} trials; give count=N, at most so many")
    seen = set()
    for values in combinations:
        config = sweep.config(values)
        decisive = json.dumps(decisive_settings(config, sweep.stage), sort_keys=True)
        name = hashlib.sha256(decisive.encode()).hexdigest()[:10]
        if name not in seen:
            seen.add(name)
            yield Trial(values, Path("runs") / "sweeps" / sweep.name / name)


def _command(sweep: Sweep, trial: Trial) -> list[str]:
    mode = "disabled" if "logging.mode=disabled" in sweep.overrides else "offline"
    return [
        *(sys.executable, "-m", "pisam.cli", "train", sweep.experiment, f"stage={sweep.stage}"),
        *(*sweep.overrides, *as_arguments(trial.values)),
        *(f"logging.mode={mode}", f"run_dir={trial.run_dir}"),
    ]


def _score(sweep: Sweep, trial: Trial) -> float | None:
    """The metric at the best validation of a complete trial.

    Raises:
        PisamError: the trial has no such metric.
    """
    path = trial.run_dir / f"stage{sweep.stage}" / "summary.json"
    if not path.is_file():
        return None
    best: dict[str, Any] = read_object(path, "", {"best": dict}, nan=True)["best"]
    if sweep.metric not in best:
        raise PisamError(f"{sweep.file}: metric: {path} has no {sweep.metric}, only {', '.join(best)}")
    score = best[sweep.metric]
    if type(score) not in (int, float) or (type(score) is int and abs(score) > sys.float_info.max):
        raise PisamError(f"{path}: {sweep.metric}: expected a number, got {shown(score)}; restore it")
    return float(score)


def _state(sweep: Sweep, trial: Trial, states: dict[Path, str]) -> str:
    return "complete" if _score(sweep, trial) is not None else states.get(trial.run_dir, "to do")


def _ranked(sweep: Sweep, trials: list[Trial]) -> list[tuple[Trial, float | None]]:
    """The best first, those without a score last, as those whose score is NaN."""
    sign = -1 if sweep.goal == "maximize" else 1
    scored = [(trial, _score(sweep, trial)) for trial in trials]

    def place(pair: tuple[Trial, float | None]) -> float:
        return math.inf if pair[1] is None or math.isnan(pair[1]) else sign * pair[1]

    return sorted(scored, key=place)


def _write(sweep: Sweep, trials: list[Trial], states: dict[Path, str], path: Path) -> None:
    rows: list[Row] = [
        {
            "trial": trial.run_dir.name,
            **{key: str(value) for key, value in trial.values.items()},
            sweep.metric: math.nan if score is None else score,
            "state": _state(sweep, trial, states),
        }
        for trial, score in _ranked(sweep, trials)
    ]
    write_csv(rows, path)


def _table(sweep: Sweep, trials: list[Trial], states: dict[Path, str]) -> str:
    lines: list[list[Any]] = [["trial", *sweep.parameters, sweep.metric, "state"]]
    for trial, score in _ranked(sweep, trials):
        values = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in trial.values.values()]
        lines.append([trial.run_dir.name, *values, score, _state(sweep, trial, states)])
    return text_table(lines)


def _say(text: str) -> None:
    print(text, flush=True)
