"""What a machine cannot do is refused before anything is read; the plan has three lines."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.small_runs import small_config
from pisam import cli
from pisam.commands.shared.begin import begin, refuse_devices, respect_wandbs_variables
from pisam.core.errors import PisamError

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@NO_GPU
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainer.accelerator=gpu"], "trainer.accelerator: gpu is asked for, and torch finds none"),
        (["trainer.accelerator=cuda"], "trainer.accelerator: cuda is asked for, and torch finds none"),
        (["trainer.devices=[0,1]"], r"trainer.devices: got \[0, 1\]; a CPU has no indices"),
        (["trainer.devices=-1"], "trainer.devices: got -1; a CPU has no indices"),
        (["trainer.precision=16-mixed"], "trainer.precision: 16-mixed needs a GPU"),
    ],
)
@pytest.mark.parametrize("verb", [["train", "stage=1"], ["evaluate"], ["interact"]])
def test_devices_that_are_not_here_are_refused_before_data_are_looked_for(
    verb: list[str], arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = tmp_path / "absent.yaml"
    experiment.write_text("data: {root: absent, train: [DIS5K-TR], val: [DIS5K-VD]}")
    assert cli.main([verb[0], str(experiment), *verb[1:], *arguments, f"run_dir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    with pytest.raises(PisamError, match=message):
        raise PisamError(error)
    assert not (tmp_path / "run").exists()


def test_gpus_are_counted_and_asked_for_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")

    def refuse(*overrides: str) -> None:
        refuse_devices(small_config(tmp_path, tmp_path, "trainer.accelerator=auto", *overrides))

    refuse("trainer.devices=2", "trainer.precision=16-mixed")
    refuse("trainer.devices=[1]")
    for devices in ("3", "[0,2]"):
        with pytest.raises(PisamError, match="there are 2 GPUs here"):
            refuse(f"trainer.devices={devices}")
    with pytest.raises(PisamError, match="Tesla V100 has no bf16-mixed"):
        refuse("trainer.precision=bf16-mixed")


def test_compile_asks_for_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(tmp_path, tmp_path, "trainer.compile=true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(PisamError, match=r"trainer\.compile: no C\+\+ compiler"):
        refuse_devices(config)
    (tmp_path / "g++").write_text("#!/bin/sh\n")
    (tmp_path / "g++").chmod(0o755)
    refuse_devices(config)


def test_plan_is_three_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small_config(tmp_path, tmp_path)
    begin(config, "train stage 1", reads=["DIS5K-TR", {"name": "own"}], writes=Path("runs/x/stage1"))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "train stage 1: pi on nano, frames of 64 px, seed 0",
        "  reads DIS5K-TR, own; 32-true on cpu, devices 1",
        "  writes runs/x/stage1; W&B disabled",
    ]


@pytest.mark.parametrize(
    ("variables", "asked", "becomes"),
    [
        ({"WANDB_MODE": "disabled"}, "online", "disabled"),
        ({"WANDB_MODE": "offline"}, "online", "offline"),
        ({"WANDB_DISABLED": "true"}, "offline", "disabled"),
        ({"WANDB_MODE": "online"}, "offline", "offline"),
        ({"WANDB_MODE": ""}, "online", "online"),
        ({"WANDB_DISABLED": "false"}, "online", "online"),
    ],
)
def test_wandbs_own_variables_turn_it_down_and_are_named(
    variables: dict[str, str], asked: str, becomes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = small_config(tmp_path, tmp_path, f"logging.mode={asked}")
    said = respect_wandbs_variables(config)
    assert config.logging.mode == becomes
    assert bool(said) == (asked != becomes) and said.split("=")[0] in ("", *variables)


@pytest.mark.parametrize("verb", [["train", "stage=1"], ["evaluate"], ["interact"]])
@pytest.mark.parametrize("kind", ["a file", "a link to nowhere"])
def test_a_run_folder_that_cannot_be_made_is_refused_before_data_are_looked_for(
    verb: list[str], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment, run = tmp_path / "absent.yaml", tmp_path / "run"
    experiment.write_text("data: {root: absent, train: [DIS5K-TR], val: [DIS5K-VD]}")
    if kind == "a file":
        run.write_text("mine")
    else:
        run.symlink_to("nowhere")
    assert cli.main([verb[0], str(experiment), *verb[1:], f"run_dir={run}"]) == 2
    error = capsys.readouterr().err
    assert error == f"error: {run}: {kind} stands where a folder is needed; remove it, or write elsewhere\n"
