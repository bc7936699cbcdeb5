"""The trainer, callbacks and loggers that a configuration asks for."""

from __future__ import annotations

import inspect
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from helpers.small_runs import small_config
from helpers.stage1_runs import save_stage_1
from pisam.config.schema import Config, StageConfig
from pisam.core.errors import PisamError
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.ends import EarlyStop
from pisam.training.callbacks.mask_panels import MaskPanels
from pisam.training.callbacks.weight_average import WeightAverage
from pisam.training.from_config import build_stage
from pisam.training.trainer import build_callbacks, build_loggers, build_strategy, build_trainer, duration


def test_duration_in_epochs_or_in_steps() -> None:
    assert duration(StageConfig(epochs=7, val_every=3)) == {
        "max_epochs": 7,
        "check_val_every_n_epoch": 3,
    }
    assert duration(StageConfig(epochs=7, max_steps=5, accumulate=2)) == {
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
    strategy = build_strategy(name, devices, nodes, 2.5)
    if ddp:
        assert isinstance(strategy, DDPStrategy)
        newer = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if newer else "broadcast_buffers"
        assert strategy._ddp_kwargs == {buffers: False, "find_unused_parameters": "unused" in name}
        assert strategy._timeout == timedelta(minutes=2.5)
    else:
        assert strategy == name


def test_trainer_waits_for_other_ranks_as_long_as_configured(tmp_path: Path) -> None:
    overrides = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.timeout=0.5"]
    trainer = build_trainer(small_config(tmp_path, tmp_path, *overrides), 1, [], [])
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
    return build_trainer(config, 1, [], [])._accelerator_connector.cluster_environment


def test_loggers_of_each_mode(tmp_path: Path) -> None:
    def wandb_loggers(mode: str) -> list[WandbLogger]:
        config = small_config(tmp_path, tmp_path, f"logging.mode={mode}", "logging.group=both")
        loggers = build_loggers(config, 2, {"frozen_hash": "abc"})
        return [logger for logger in loggers if isinstance(logger, WandbLogger)]

    assert wandb_loggers("disabled") == []
    (offline,), (online,) = wandb_loggers("offline"), wandb_loggers("online")
    assert (offline._offline, online._offline) == (True, False)
    settings = offline._wandb_init
    assert (settings["group"], settings["name"], settings["job_type"]) == ("both", "small-stage2", "stage2")
    assert settings["config"]["frozen_hash"] == "abc"
    assert settings["config"]["model"]["image_size"] == 64


def test_further_loggers_write_what_the_first_one_does(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = small_config(tmp_path, tmp_path, "logging.also=[csv,tensorboard]")
    (tmp_path / "run/stage1").mkdir(parents=True)
    for attempt in range(2):  # a resumed run keeps what its first part wrote
        for logger in build_loggers(config, 1, {}):
            logger.log_metrics({"train/loss": 0.25 + attempt}, step=attempt)
            logger.save()
            logger.finalize("success")
    tables = sorted((tmp_path / "run/stage1/csv").glob("version_*/metrics.csv"))
    assert [table.read_text().splitlines() for table in tables] == [
        ["step,train/loss", "0,0.25"],
        ["step,train/loss", "1,1.25"],
    ]
    assert len(list((tmp_path / "run/stage1/tensorboard").glob("events.out.tfevents.*"))) == 2


def test_further_logger_that_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"logging\.also: got 'mlflow', expected tensorboard or csv"):
        small_config(tmp_path, tmp_path, "logging.also=[mlflow]")


def built_callbacks(config: Config, number: int) -> list[Callback]:
    save_stage_1(config, Path(config.run_dir))
    return build_callbacks(config, number, build_stage(config, number), {"val": {"val": 2}})


def test_callbacks_take_the_configured_clicks_and_pictures(tmp_path: Path) -> None:
    overrides = ["clicks.max_clicks=3", "clicks.margin=0.5", "stage2.views=2", "logging.images=5"]
    callbacks = built_callbacks(small_config(tmp_path, tmp_path, *overrides), 2)
    (simulation,) = (callback for callback in callbacks if isinstance(callback, ClickSimulation))
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
        PisamError, match=r"stage1\.monitor: no score val/val/iuo; did you mean val/val/iou\?"
    ):
        built_callbacks(config, 1)
