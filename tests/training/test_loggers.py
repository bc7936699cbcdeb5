"""Who logs, and under which names."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch.loggers import WandbLogger

from helpers.small_runs import small_config
from pisam.core.errors import PisamError
from pisam.training.loggers import build_loggers


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
