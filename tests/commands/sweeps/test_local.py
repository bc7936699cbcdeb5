"""A sweep without a server: real trials of the smallest size."""

from __future__ import annotations

import csv
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.small_runs import HARD_TIMEOUT, command, summary, wait_until, write_experiment, write_sets
from helpers.small_sweeps import write_sweep
from pisam import cli
from pisam.commands.sweeps import local
from pisam.commands.sweeps.local import MOST_TRIALS, Trial, trials_of
from pisam.commands.sweeps.sweep_file import read_sweep
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
        monkeypatch.setattr(local, "_score", lambda *_, scores=scores: next(scores))
        trials = [Trial({}, Path(name)) for name in "abcd"]
        ranked = [score for _, score in local._ranked(replace(sweep, goal=goal), trials)]
        assert ranked[:2] == expected and ranked[3] is None


def test_more_trials_than_can_be_run_are_refused(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two values give two trials, however many draws are asked for."""
    file = write_sweep(workplace, workplace / "small.yaml", method="random")
    with pytest.raises(PisamError, match=f"more than {MOST_TRIALS} trials; give count=N"):
        list(trials_of(read_sweep(file), count=10**9))


@pytest.mark.slow
def test_grid_runs_ranks_and_is_not_repeated(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Half of the trials fail; the others run all the same, and only once."""
    parameters = {"stage1.lr": {"values": [1e-8, 0.02]}, "stage1.monitor": {"values": ["val/iou", "val/xyz"]}}
    file = write_sweep(
        workplace,
        workplace / "small.yaml",
        overrides=STEPS,
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
    lowered = {"stage1.lr": {"values": [1e-8, 0.02]}, "stage1.monitor": {"value": "val/iou"}}
    file = write_sweep(workplace, workplace / "small.yaml", overrides=STEPS, parameters=lowered)
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
