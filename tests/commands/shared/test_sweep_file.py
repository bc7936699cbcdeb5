"""Sweep files are read and checked before anything runs; their values are W&B's."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.small_runs import write_experiment
from helpers.small_sweeps import write_sweep
from pisam import cli
from pisam.commands.shared.sweep_file import draws, grid, read_parameter, read_sweep
from pisam.core.errors import PisamError


def read(**spec: Any) -> Any:
    return read_parameter("file: parameters.x", spec)


def drawn(count: int = 2000, **spec: Any) -> list[Any]:
    return [values["x"] for values in draws({"x": read(**spec)}, count, 7)]


def test_grid_is_every_combination() -> None:
    parameters = {"a": read(values=[1, 2]), "b": read(value="only"), "c": read(values=[True, False])}
    expected = [{"a": a, "b": "only", "c": c} for a in (1, 2) for c in (True, False)]
    assert list(grid(parameters)) == expected


def test_grid_refuses_a_range_by_name() -> None:
    with pytest.raises(PisamError, match=r"parameters\.lr: a grid needs value or values"):
        grid({"lr": read(min=0.1, max=0.2)})


def test_fewer_draws_are_the_beginning_of_more() -> None:
    parameters = {"a": read(min=0.0, max=1.0), "b": read(values=[1, 2, 3])}
    many = list(draws(parameters, 8, 3))
    assert list(draws(parameters, 5, 3)) == many[:5]
    assert list(draws(parameters, 8, 4)) != many


def test_uniform_fills_its_range_evenly() -> None:
    values = drawn(min=2.0, max=6.0)
    assert all(2 <= value <= 6 for value in values)
    assert sum(value < 3 for value in values) / len(values) == pytest.approx(0.25, abs=0.05)


def test_log_uniform_gives_each_decade_its_share() -> None:
    values = drawn(distribution="log_uniform_values", min=1e-4, max=1e-2)
    assert all(1e-4 <= value <= 1e-2 for value in values)
    assert sum(value < 1e-3 for value in values) / len(values) == pytest.approx(0.5, abs=0.05)


def test_whole_numbers_include_both_ends() -> None:
    counts = Counter(drawn(min=1, max=4))
    assert set(counts) == {1, 2, 3, 4}
    assert all(type(value) is int for value in counts)


def test_choices_keep_their_probabilities() -> None:
    counts = Counter(drawn(values=["rare", "often"], probabilities=[0.1, 0.9]))
    assert counts["rare"] / 2000 == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("distribution", ["q_uniform", "q_log_uniform_values"])
def test_steps_are_multiples(distribution: str) -> None:
    values = drawn(distribution=distribution, min=1.0, max=8.0, q=0.5)
    assert all(math.isclose(value * 2, round(value * 2)) for value in values)
    assert {1.0, 8.0} <= set(values)


def test_candidates_are_all_values_or_both_ends() -> None:
    assert read(values=[3, 1]).candidates() == (3, 1)
    assert read(min=1.0, max=2.5).candidates() == (1.0, 2.5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"min": "1e-4", "max": 0.1}, r"x\.min: expected a number, got '1e-4'"),
        ({"min": 1.0}, r"x\.max: expected a number, got None"),
        ({"min": 2, "max": 1}, "expected min < max, got 2 and 1"),
        ({"min": 0.0, "max": 1.0, "distribution": "log_uniform_values"}, "positive, got 0.0"),
        ({"min": 0.1, "max": 1.0, "distribution": "log_uniform_value"}, "did you mean log_uniform_values"),
        ({"min": 0.1, "max": 1, "distribution": "int_uniform"}, "whole numbers"),
        ({"min": 0.1, "max": 1.0, "distribution": "q_uniform", "q": -1}, r"x\.q: got -1"),
        ({"min": 0.1, "max": 1.0, "distribution": "q_uniform", "q": math.nan}, r"x\.q: expected a number"),
        ({"min": 0.1, "max": math.inf}, r"x\.max: expected a number, got inf"),
        ({"min": 1, "max": 10**400}, r"x\.max: expected a number, got a number of more than"),
        ({"values": []}, r"x\.values: expected a list"),
        ({"values": [None, 0.9]}, "null"),
        ({"values": [1, 2], "probabilities": [0.5, 0.4]}, "2 shares with the sum 1"),
        ({"values": [1, 2], "probabilities": [2, -1]}, "2 shares with the sum 1"),
        ({"vales": [1]}, "unknown key vales; did you mean value"),
        ({"parameters": {"lr": {"value": 1}}}, "nested parameters; write the dotted key"),
    ],
)
def test_wrong_parameter_is_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(PisamError, match=message):
        read(**spec)


def test_draw_of_a_listed_value_takes_every_one() -> None:
    parameter, generator = read(values=[1, 2, 3]), random.Random(0)
    assert set(itertools.islice(iter(lambda: parameter.draw(generator), None), 50)) == {1, 2, 3}


ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "experiments" / "sweeps").glob("*.yaml"))


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return write_experiment(tmp_path, tmp_path / "sets")


def test_both_stages_have_sweeps() -> None:
    names = {file.stem for file in FILES}
    assert {
        "stage1_lr",
        "stage1_loss",
        "stage1_prompts",
        "stage2_lr",
        "stage2_clicks",
        "stage2_prompts",
    } <= names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_file_of_the_project_is_valid(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    sweep = read_sweep(file)
    assert sweep.name == sweep.content["name"] == file.stem
    assert file.stem.startswith(f"stage{sweep.stage}_")
    assert sweep.goal == "maximize"
    assert sweep.metric.endswith("_after") == (sweep.stage == 2)
    assert {"logging.mode=online", f"logging.group={file.stem}"} <= set(sweep.overrides)
    assert sweep.method == "grid" or sweep.cap
    assert sweep.as_file() == sweep.content, "as it stands it is what the server gets"


def test_overrides_and_experiment_take_the_place_of_those_in_the_file(
    tmp_path: Path, experiment: Path
) -> None:
    file = write_sweep(tmp_path, experiment, overrides=["stage1.epochs=3", "seed=4"])
    other = tmp_path / "other.yaml"
    other.write_text(experiment.read_text())
    sweep = read_sweep(file, ["stage1.epochs=2"], str(other))
    assert sweep.overrides == ("seed=4", "stage1.epochs=2")
    assert sweep.config({"stage1.lr": 0.5}).stage1.lr == 0.5
    command = sweep.as_file()["command"]
    assert command[5:] == [
        str(other), "stage=1", "sweep=small", "seed=4", "stage1.epochs=2", "${args_no_hyphens}"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": {"stage1.lrr": {"value": 1}}}, r"unknown key stage1\.lrr; did you mean stage1\.lr"),
        ({"parameters": {"stage1.lr": {"values": [0.1, -1]}}}, r"stage1\.lr: got -1"),
        ({"parameters": {"stage1.lr": {"min": 0.1, "max": 0.2}, "seed": {"min": 0, "max": 2**33}}}, "seed"),
        ({"parameters": {"run_dir": {"value": "x"}}}, "run_dir: cannot be varied, each trial gets its own"),
        ({"parameters": {"data.batch_size": {"value": 2}}}, "batch_size: cannot be varied, it has a fixed"),
        ({"parameters": {}}, "parameters: expected a key per parameter"),
        ({"method": "gird"}, "method: got gird"),
        ({"metric": {"name": "val/iou"}}, "goal: maximize or minimize"),
        (
            {"metric": {"name": "val/iuo", "goal": "maximize"}},
            "metric: no score val/iuo; did you mean val/iou",
        ),
        ({"metric": {"name": "iou", "goal": "maximize"}}, r"metric: no score iou; did you mean val/iou\?"),
        ({"metric": {"name": "val/iou_after", "goal": "maximize"}}, "metric: no score val/iou_after"),
        ({"parameters": {"stage1.monitor": {"values": ["val/iou", "val/iuo"]}}}, "stage1.monitor: no score"),
        ({"program": "train.py"}, "program: expected pisam.cli"),
        ({"command": ["${env}", "${program}", "${args}"]}, "command: expected"),
        ({"run_cap": 0}, "run_cap: got 0"),
        ({"run_cap": True}, "run_cap: got True"),
        ({"run_caps": 3}, "unknown key 'run_caps'; did you mean run_cap"),
    ],
)
def test_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, experiment: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    file = write_sweep(tmp_path, experiment, overrides=["data.batch_size=1"], **change)
    with pytest.raises(PisamError, match=message):
        read_sweep(file)
    assert cli.main(["sweep", str(file), "local=true"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(file) in error
    assert not (Path("runs") / "sweeps" / "small").exists()


@pytest.mark.parametrize("more", ["stage=2", "sweep=other", "data.batch_size=2"])
def test_two_values_of_one_key_in_the_command_are_refused(
    tmp_path: Path, experiment: Path, more: str
) -> None:
    file = write_sweep(tmp_path, experiment, overrides=["data.batch_size=1", more])
    with pytest.raises(PisamError, match=f"command: {more.partition('=')[0]} is there twice"):
        read_sweep(file)


def test_text_is_as_it_was_typed(tmp_path: Path, experiment: Path) -> None:
    file = write_sweep(tmp_path, experiment, parameters={"stage1.from": {"values": ["FIRST", "SECOND"]}})
    text = file.read_text().replace("FIRST", "20261126_1530").replace("SECOND", "0123")
    file.write_text(text.replace(str(experiment), "0123"))
    (tmp_path / "0123").write_text("")
    with pytest.raises(PisamError, match="experiment 0123: expected"):
        read_sweep(file)
    sweep = read_sweep(file, experiment=str(experiment))
    assert sweep.parameters["stage1.from"].values == ("20261126_1530", "0123")
    assert sweep.as_file()["parameters"]["stage1.from"]["values"] == ["20261126_1530", "0123"]


def test_unknown_file_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(PisamError, match="did you mean stage2_clicks"):
        read_sweep("stage2_click")


def test_number_without_a_point_is_one(tmp_path: Path, experiment: Path) -> None:
    file = write_sweep(tmp_path, experiment)
    content = yaml.safe_load(file.read_text())
    file.write_text(
        yaml.safe_dump(content).replace("values:\n    - 0.01\n    - 0.001", "min: 1e-4\n    max: 0.1")
    )
    assert "1e-4" in file.read_text()
    sweep = read_sweep(file)
    assert sweep.parameters["stage1.lr"].low == sweep.as_file()["parameters"]["stage1.lr"]["min"] == 1e-4


@pytest.mark.parametrize("name", ["..", ".", "../x", "a/b", "a\\b", ".x", "x" * 201])
def test_name_that_is_no_folders_is_refused(tmp_path: Path, experiment: Path, name: str) -> None:
    """A sweep named `..` would write one level up."""
    file = write_sweep(tmp_path, experiment)
    content = yaml.safe_load(file.read_text())
    content["command"] = [f"sweep={name}" if w.startswith("sweep=") else w for w in content["command"]]
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(PisamError, match="command: sweep: name is"):
        read_sweep(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 60_000, "nested too deeply"),
        ("parameters: &a {x: *a}", "nested too deeply"),
        ("a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)), "10000"),
        ("method: grid\nmethod: random", "line 2: method is there twice"),
        ("a: [", "not readable as YAML"),
    ],
)
def test_hostile_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    with pytest.raises(PisamError, match=message) as error:
        read_sweep(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected `pisam sweep FILE"),
        (["stage1_lr", "local=yes"], "got local=yes"),
        (["stage1_lr", "count=0"], "count"),
        (["stage1_lr", "agents=many"], "agents=many"),
    ],
)
def test_wrong_argument_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sweep", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_trial_of_an_agent_needs_its_run_id(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    assert cli.main(["train", str(experiment), "stage=1", "sweep=small"]) == 2
    assert "local=true" in capsys.readouterr().err


def test_trial_of_an_agent_stays_in_its_folder(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, trial in (("small", "../../../x"), ("..", "x")):
        monkeypatch.setenv("WANDB_RUN_ID", trial)
        assert cli.main(["train", str(experiment), "stage=1", f"sweep={name}"]) == 2
        assert "choose another" in capsys.readouterr().err
