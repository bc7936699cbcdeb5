"""Trials without a server, agents of one, and children that hear of every signal."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.small_runs import (
    HARD_TIMEOUT,
    SOURCE,
    command,
    logged,
    summary,
    wait_until,
    write_experiment,
    write_sets,
)
from helpers.small_sweeps import write_sweep
from helpers.wandb_stub import assert_no_key, own_place, wandb_stub
from pisam import cli
from pisam.commands.shared import sweep_runs
from pisam.commands.shared.sweep_file import read_sweep
from pisam.commands.shared.sweep_runs import MOST_TRIALS, SIGNALS, Trial, run_together, trials_of
from pisam.core.errors import PisamError

STEPS = ["stage1.max_steps=2"]


def results(folder: Path) -> list[dict[str, str]]:
    with (folder / "runs" / "sweeps" / "small" / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder beside the small experiment and its pictures."""
    monkeypatch.chdir(tmp_path)
    write_experiment(tmp_path, write_sets(tmp_path / "sets"))
    return tmp_path


def test_bayes_and_random_without_a_number_are_refused(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = workplace / "small.yaml"
    for method, message in (("bayes", "method bayes needs W&B's server"), ("random", "give count=N")):
        file = write_sweep(workplace, experiment, method=method)
        assert cli.main(["sweep", str(file), "local=true"]) == 2
        assert message in capsys.readouterr().err
    assert not (workplace / "runs").exists()


def test_combination_that_is_no_experiment_stops_before_the_first_trial(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each value is valid alone."""
    parameters = {"data.prompts.box": {"values": [1, 0]}, "data.prompts.points": {"values": [1, 0]}}
    file = write_sweep(workplace, workplace / "small.yaml", parameters=parameters)
    assert cli.main(["sweep", str(file), "local=true"]) == 2
    assert "data.prompts" in capsys.readouterr().err
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not readable as JSON"),
        ("[]", "expected a JSON object"),
        ("null", "expected a JSON object"),
        ("{}", "best: expected a dict"),
        ('{"best": {"val/iou": "x"}}', "val/iou: expected a number, got 'x'"),
        (f'{{"best": {{"val/iou": {10**400}}}}}', "val/iou: expected a number, got a number of more than"),
        ('{"best": {"val/iou": null}}', "val/iou: expected a number, got None"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_a_trials_summary_is_checked(
    workplace: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    file = write_sweep(workplace, workplace / "small.yaml")
    for trial in trials_of(read_sweep(file)):
        summary = trial.run_dir / "stage1" / "summary.json"
        summary.parent.mkdir(parents=True)
        summary.write_text(text)
    assert cli.main(["sweep", str(file), "local=true"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "summary.json" in error and message in error


def test_a_score_that_is_nan_is_ranked_last(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = read_sweep(write_sweep(workplace, workplace / "small.yaml"))
    for goal, expected in (("maximize", [0.9, 0.5]), ("minimize", [0.5, 0.9])):
        scores = iter([0.5, math.nan, 0.9, None])
        monkeypatch.setattr(sweep_runs, "_score", lambda *_, scores=scores: next(scores))
        trials = [Trial({}, Path(name)) for name in "abcd"]
        ranked = [score for _, score in sweep_runs._ranked(replace(sweep, goal=goal), trials)]
        assert ranked[:2] == expected and ranked[3] is None


def test_more_trials_than_can_be_run_are_refused(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two values give two trials, however many draws are asked for."""
    file = write_sweep(workplace, workplace / "small.yaml", method="random")
    with pytest.raises(PisamError, match=f"more than {MOST_TRIALS} trials; give count=N"):
        list(trials_of(read_sweep(file), count=10**9))


@pytest.mark.slow
def test_grid_runs_ranks_and_is_not_repeated(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Half of the trials, which would learn nothing, fail; the others run all the same, and only once."""
    parameters = {"stage1.lr": {"values": [1e-8, 0.02]}, "loss.dice": {"values": [1.0, 0.0]}}
    file = write_sweep(
        workplace,
        workplace / "small.yaml",
        overrides=[*STEPS, "loss.bce=0"],
        parameters=parameters,
        early_terminate={"type": "hyperband", "min_iter": 3},
    )
    assert cli.main(["sweep", str(file), "local=true"]) == 1
    output, error = capfd.readouterr()
    assert "each trial runs to its end" in output
    rows = results(workplace)
    assert [row["state"] for row in rows] == ["complete"] * 2 + ["failed with exit code 2"] * 2
    assert [row["val/iou"] for row in rows[2:]] == ["", ""]
    best, second = (float(row["val/iou"]) for row in rows[:2])
    assert best > second
    runs = workplace / "runs" / "sweeps" / "small"
    for row in rows[:2]:
        written = summary(runs / row["trial"], 1)
        assert written["best"]["val/iou"] == pytest.approx(float(row["val/iou"]), abs=1e-6)
    for row in rows[2:]:
        assert f"{Path('runs/sweeps/small') / row['trial']}: failed with exit code 2" in error

    times = {
        row["trial"]: (runs / row["trial"] / "stage1" / "summary.json").stat().st_mtime_ns for row in rows[:2]
    }
    lowered = {"stage1.lr": {"values": [1e-8, 0.02]}, "loss.dice": {"value": 1.0}}
    file = write_sweep(
        workplace, workplace / "small.yaml", overrides=[*STEPS, "loss.bce=0"], parameters=lowered
    )
    assert cli.main(["sweep", str(file), "local=true"]) == 0
    again = {
        row["trial"]: (runs / row["trial"] / "stage1" / "summary.json").stat().st_mtime_ns for row in rows[:2]
    }
    assert again == times, "complete trials are not run again"


@pytest.mark.slow
def test_killed_sweep_goes_on_in_the_middle_of_a_trial(workplace: Path) -> None:
    """SIGTERM to the sweep reaches its trial, which saves; the same command continues both."""
    parameters = {"stage1.lr": {"min": 0.001, "max": 0.01}}
    file = write_sweep(
        workplace,
        workplace / "small.yaml",
        method="random",
        run_cap=2,
        parameters=parameters,
        overrides=["stage1.max_steps=60", "data.batch_size=1"],
    )
    first = command("sweep", str(file), "local=true", cwd=workplace)

    def trains() -> bool:
        logs = workplace.glob("runs/**/metrics.jsonl")
        return any(len(path.read_text().splitlines()) > 4 for path in logs)

    wait_until(first, trains)
    os.kill(first.pid, signal.SIGTERM)
    output, error = first.communicate(timeout=HARD_TIMEOUT)
    assert first.returncode == 143, error[-3000:]
    assert "told to go" in output
    assert not list(workplace.glob("runs/**/summary.json"))

    again = command("sweep", str(file), "local=true", cwd=workplace)
    output, error = again.communicate(timeout=HARD_TIMEOUT)
    assert again.returncode == 0, error[-3000:]
    assert output.count("resuming stage 1") == 1
    rows = results(workplace)
    assert len(rows) == 2 and all(row["state"] == "complete" for row in rows)
    assert len(list(workplace.glob("runs/sweeps/small/*/stage1"))) == 2


TWO_RANKS = ["trainer.devices=2", "trainer.strategy=ddp"]
SERVED_STEPS = 30


def make_sweep(file: Path, folder: Path) -> subprocess.Popen[str]:
    """Two trials, in a folder of its own."""
    variables = (f"SWEEP={file}", "COUNT=2", f"PYTHON={sys.executable}")
    return subprocess.Popen(
        ["make", "--file", str(SOURCE.parent / "Makefile"), "sweep", *variables],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(3 * HARD_TIMEOUT)
def test_sweep_and_agent_train_on_two_ranks_and_survive_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_place(monkeypatch, tmp_path)
    experiment = write_experiment(tmp_path, write_sets(tmp_path / "sets"))
    fixed = [f"stage1.max_steps={SERVED_STEPS}", "logging.mode=online", "logging.group=small", *TWO_RANKS]
    file = write_sweep(tmp_path, experiment, overrides=[*fixed, "data.batch_size=1"])
    with wandb_stub() as server:
        server.announce(monkeypatch)
        sweep = make_sweep(file, tmp_path)
        second = tmp_path / "runs" / "sweeps" / "small" / "trial2" / "stage1" / "metrics.jsonl"
        wait_until(sweep, lambda: second.exists() and len(second.read_text().splitlines()) > 3)
        seen = server.seen()
        server.kill()
        output, error = sweep.communicate(timeout=HARD_TIMEOUT)

    assert "sweep someone/small-tests/sweep1" in output
    assert sweep.returncode == 2 and "Error 1" in error, (
        "W&B's agent cannot ask whether there are more trials"
    )
    assert "Failed to verify credentials" in error
    assert seen.sweep["command"][-1] == "${args_no_hyphens}"
    assert seen.operations.count("UpsertSweep") == 1
    runs = tmp_path / "runs" / "sweeps" / "small"
    for trial in ("trial1", "trial2"):
        assert summary(runs / trial, 1)["steps"] == SERVED_STEPS
        losses = [row["step"] for row in logged(runs / trial, 1) if "train/loss" in row]
        assert losses == list(range(SERVED_STEPS)), "one process writes, and loses nothing"
    assert "lr: 0.01\n" in (runs / "trial1" / "stage1" / "config.yaml").read_text()
    assert "lr: 0.001\n" in (runs / "trial2" / "stage1" / "config.yaml").read_text()
    sent = [row for row in seen.rows("trial1") if "val/iou" in row]
    assert sent[-1]["val/iou"] == pytest.approx(summary(runs / "trial1", 1)["best"]["val/iou"])
    assert seen.exits == {"trial1": [0]}
    models = {
        artifact["name"]: set(artifact["aliases"])
        for artifact in seen.artifacts
        if "run-" not in artifact["name"]
    }
    assert models == {"small-stage1": {"best", "latest"}}
    assert_no_key(tmp_path, output, error)


LONG = ["sleep", "40"]  # seconds that nothing here waits for


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Signals that come in the very moment in which a child was started; one each."""
    coming: list[int] = []
    popen = subprocess.Popen

    def interrupted(*args: Any, **kwargs: Any) -> subprocess.Popen:
        child = popen(*args, **kwargs)
        if coming:
            os.kill(os.getpid(), coming.pop())
        return child

    monkeypatch.setattr(sweep_runs.subprocess, "Popen", interrupted)
    return coming


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_the_start_of_a_child_reaches_it_and_no_other_is_started(
    start: list[int], number: int
) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    start.append(number)
    assert run_together([LONG, LONG]) == ([-number], True)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_every_child_hears_each_signal_once() -> None:
    """The second sends TERM to this process; both count."""
    count = "n=0; trap 'n=$((n + 1))' TERM; {}while [ $n = 0 ]; do sleep 0.05; done; sleep 0.2; exit $n"
    ask = 'sleep 0.5; kill -TERM "$PPID"; '
    assert run_together([["sh", "-c", count.format(what)] for what in ("", ask)]) == ([1, 1], True)


@pytest.mark.parametrize("deaf", [False, True])
def test_ctrl_c_sent_to_this_process_alone_ends_the_children(
    monkeypatch: pytest.MonkeyPatch, deaf: bool
) -> None:
    """Those that a terminal told are waited for; others are told, by SIGTERM where they hear no SIGINT."""
    monkeypatch.setattr(sweep_runs, "SECONDS_BY_THEMSELVES", 0.1)
    monkeypatch.setattr(sweep_runs, "SECONDS_WHEN_TOLD", 0.1 if deaf else 30.0)
    started: list[subprocess.Popen] = []
    popen = subprocess.Popen

    def noted(*args: Any, **kwargs: Any) -> subprocess.Popen:
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(sweep_runs.subprocess, "Popen", noted)
    ask = 'sleep 0.2; kill -INT "$PPID"; exec sleep 40'
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_together([LONG, ["sh", "-c", "trap '' INT; " * deaf + ask]])
    assert len(started) == 2 and all(child.wait(20) for child in started)
    assert time.monotonic() - begun < 20
