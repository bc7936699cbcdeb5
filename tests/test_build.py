"""From configurations to objects: where stage 2 starts, how long a run lasts, who logs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy

from pisam import build
from pisam.callbacks.click_simulation import ClickSimulation
from pisam.callbacks.early_stop import EarlyStop
from pisam.callbacks.interaction_iou import InteractionIoU
from pisam.callbacks.last_checkpoint import LastCheckpoint
from pisam.callbacks.mask_panels import MaskPanels
from pisam.callbacks.weight_average import WeightAverage
from pisam.config import Config, StageConfig
from pisam.errors import PisamError
from pisam.modeling.pisam import checkpoint_of
from small_runs import small_config


def save_stage_1(config: Config, folder: Path, **identity: Any) -> dict[str, Any]:
    """A stage-1 run of a randomised decoder, its identity changed where asked."""
    model = build.build_network(config)
    torch.nn.init.normal_(model.decoder.head.parameters().__next__())
    contents = checkpoint_of(model)
    contents["pisam"] |= identity
    path = folder / "stage1" / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    torch.save(contents, path)
    return contents["state_dict"]


def test_stage_2_starts_from_the_best_of_stage_1(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path)
    state = save_stage_1(config, Path(config.run_dir))
    loaded = build.build_stage(config, 2).model.own_state()
    assert {f"model.{name}" for name in loaded} == state.keys()
    assert all(value.equal(state[f"model.{name}"]) for name, value in loaded.items())


def test_from_takes_a_run_a_stage_or_a_checkpoint(tmp_path: Path) -> None:
    other = tmp_path / "other"
    save_stage_1(small_config(tmp_path, tmp_path), other)
    checkpoint = other / "stage1" / "checkpoints" / "best.ckpt"
    for source in (other, other / "stage1", checkpoint):
        config = small_config(tmp_path, tmp_path, f"stage2.from={source}")
        assert build.stage1_checkpoint(config) == checkpoint


@pytest.mark.parametrize("override", [(), ("stage2.from=nowhere",)])
def test_stage_2_without_stage_1_names_what_was_looked_at(tmp_path: Path, override: tuple[str, ...]) -> None:
    config = small_config(tmp_path, tmp_path, *override)
    looked_at = "stage2.from nowhere" if override else f"run_dir {config.run_dir}"
    with pytest.raises(PisamError, match=f"stage 2 needs a trained stage 1, and {looked_at} holds none"):
        build.build_stage(config, 2)


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ({"backbone": "vit_b"}, "made with backbone vit_b, this model has nano"),
        ({"image_size": 128}, "made with image_size 128, this model has 64"),
        ({"frozen_hash": "0" * 64}, "made with frozen_hash 0000"),
    ],
)
def test_stage_2_refuses_a_stage_1_of_another_model(
    tmp_path: Path, identity: dict[str, Any], message: str
) -> None:
    config = small_config(tmp_path, tmp_path)
    save_stage_1(config, Path(config.run_dir), **identity)
    with pytest.raises(PisamError, match=rf"stage1/checkpoints/best\.ckpt: {message}"):
        build.build_stage(config, 2)


def test_damaged_stage_1_checkpoint_is_one_error(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path)
    save_stage_1(config, Path(config.run_dir))
    path = build.stage1_checkpoint(config)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(PisamError, match=str(path)):
        build.build_stage(config, 2)


def test_network_is_a_function_of_the_seed(tmp_path: Path) -> None:
    states = [
        build.build_network(small_config(tmp_path, tmp_path, f"seed={seed}")).own_state()
        for seed in (0, 0, 1)
    ]
    same, other = ([states[0][name].equal(state[name]) for name in states[0]] for state in states[1:])
    assert all(same) and not all(other)


def test_duration_in_epochs_or_in_steps() -> None:
    assert build.duration(StageConfig(epochs=7, val_every=3)) == {
        "max_epochs": 7,
        "check_val_every_n_epoch": 3,
    }
    assert build.duration(StageConfig(epochs=7, max_steps=5, accumulate=2)) == {
        "max_epochs": -1,
        "max_steps": 5,
        "check_val_every_n_epoch": None,
        "val_check_interval": 10,
    }


@pytest.mark.parametrize(
    ("name", "devices", "nodes", "ddp"),
    [
        ("ddp", 1, 1, True),
        ("auto", 2, 1, True),
        ("auto", [0, 1], 1, True),
        ("auto", 1, 2, True),
        ("auto", 1, 1, False),
        ("auto", [0], 1, False),
        ("ddp_find_unused_parameters_true", 2, 1, True),
    ],
)
def test_several_ranks_mean_ddp_without_resending_sams_buffers(
    name: str, devices: Any, nodes: int, ddp: bool
) -> None:
    strategy = build.build_strategy(name, devices, nodes, 2.5)
    if ddp:
        assert isinstance(strategy, DDPStrategy)
        assert strategy._ddp_kwargs == {
            "broadcast_buffers": False,
            "find_unused_parameters": "unused" in name,
        }
        assert strategy._timeout == timedelta(minutes=2.5)
    else:
        assert strategy == name


def test_trainer_waits_for_other_ranks_as_long_as_configured(tmp_path: Path) -> None:
    overrides = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.timeout=0.5"]
    trainer = build.build_trainer(small_config(tmp_path, tmp_path, *overrides), 1, [], [])
    assert isinstance(trainer.strategy, DDPStrategy)
    assert trainer.strategy._timeout == timedelta(seconds=30)


def test_slurm_requeueing_is_left_to_the_jobs_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(tmp_path, tmp_path)
    assert not isinstance(environment_of(config), SLURMEnvironment)
    variables = {"NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_ID": "7", "JOB_NAME": "x"}
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    environment = environment_of(config)
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "torchrun inside of a job")
    assert not isinstance(environment_of(config), SLURMEnvironment)


def environment_of(config: Config) -> Any:
    return build.build_trainer(config, 1, [], [])._accelerator_connector.cluster_environment


def built_callbacks(config: Config, number: int) -> list[Callback]:
    save_stage_1(config, Path(config.run_dir))
    return build.build_callbacks(config, number, build.build_stage(config, number), ["val"])


def test_callbacks_take_the_configured_clicks_and_pictures(tmp_path: Path) -> None:
    overrides = ["clicks.max_clicks=3", "clicks.margin=0.5", "stage2.views=2", "logging.images=5"]
    callbacks = built_callbacks(small_config(tmp_path, tmp_path, *overrides), 2)
    assert isinstance(callbacks[0], LastCheckpoint), "what others do before a step belongs to the step"
    (simulation,) = (callback for callback in callbacks if isinstance(callback, ClickSimulation))
    readers = (InteractionIoU, MaskPanels)
    assert all(
        callbacks.index(simulation) < callbacks.index(c) for c in callbacks if isinstance(c, readers)
    ), "what reads the clicks comes after it"
    assert (simulation.max_clicks, simulation.simulation["margin"]) == (3, 0.5)
    assert simulation.frozen_features is not None
    assert [panels.images for panels in callbacks if isinstance(panels, MaskPanels)] == [5]
    assert [saved.monitor for saved in callbacks if isinstance(saved, ModelCheckpoint)] == ["val/iou_after"]


def test_stage_1_has_no_clicks_and_no_pictures_unless_asked(tmp_path: Path) -> None:
    callbacks = built_callbacks(small_config(tmp_path, tmp_path), 1)
    assert not [c for c in callbacks if isinstance(c, ClickSimulation | MaskPanels)]
    assert [saved.monitor for saved in callbacks if isinstance(saved, ModelCheckpoint)] == ["val/iou"]


def test_options_of_a_stage_become_callbacks(tmp_path: Path) -> None:
    options = ["stage1.ema=0.9", "stage1.early_stop=3", "stage1.monitor=val/val/biou"]
    config = small_config(tmp_path, tmp_path, *options)
    callbacks = built_callbacks(config, 1)
    (early,) = [c for c in callbacks if isinstance(c, EarlyStop)]
    assert (early.monitor, early.patience) == ("val/val/biou", 3)
    assert "val/val/biou" in [c.monitor for c in callbacks if isinstance(c, ModelCheckpoint)]
    assert len([c for c in callbacks if isinstance(c, WeightAverage)]) == 1
    plain = built_callbacks(small_config(tmp_path, tmp_path, f"run_dir={tmp_path / 'plain'}"), 1)
    assert not [c for c in plain if isinstance(c, EarlyStop | WeightAverage)]


def test_monitor_that_no_validation_gives_is_named_with_those_there_are(tmp_path: Path) -> None:
    config = small_config(tmp_path, tmp_path, "stage1.monitor=val/val/iuo")
    with pytest.raises(
        PisamError, match=r"stage1\.monitor: no score val/val/iuo; .*did you mean val/val/iou\?"
    ):
        built_callbacks(config, 1)


def test_loggers_of_each_mode(tmp_path: Path) -> None:
    def wandb_loggers(mode: str) -> list[WandbLogger]:
        config = small_config(tmp_path, tmp_path, f"logging.mode={mode}", "logging.group=both")
        loggers = build.build_loggers(config, 2, {"frozen_hash": "abc"})
        return [logger for logger in loggers if isinstance(logger, WandbLogger)]

    assert wandb_loggers("disabled") == []
    (offline,), (online,) = wandb_loggers("offline"), wandb_loggers("online")
    assert (offline._offline, online._offline) == (True, False)
    settings = offline._wandb_init
    assert (settings["group"], settings["name"], settings["job_type"]) == ("both", "small-stage2", "stage2")
    assert settings["config"]["frozen_hash"] == "abc"
    assert settings["config"]["model"]["image_size"] == 64
