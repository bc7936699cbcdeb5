"""Who logs, and under which names."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.loggers import WandbLogger

from helpers.small_runs import small_config
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
