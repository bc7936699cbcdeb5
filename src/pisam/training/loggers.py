"""Loggers of numbers and pictures: `metrics.jsonl` and W&B."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from pisam.config.schema import Config, to_plain
from pisam.core.errors import PisamError
from pisam.training.logging.jsonl_logger import JsonLinesLogger
from pisam.training.logging.wandb_logger import StageRun, read_run_id
from pisam.training.run_folder import stage_dir


def build_loggers(config: Config, number: int, facts: dict[str, Any]) -> list[Logger]:
    """`metrics.jsonl`, and one W&B run per stage in one group, offline by default."""
    folder = stage_dir(config, number)
    loggers: list[Logger] = [JsonLinesLogger(folder / "metrics.jsonl")]
    if config.logging.mode != "disabled":
        loggers.append(
            StageRun(
                folder,
                mode=config.logging.mode,
                config={**to_plain(config), **facts},
                project=config.logging.project,
                group=config.logging.group,
                name=f"{config.name}-stage{number}",
                job_type=f"stage{number}",
                tags=[config.model.backbone, config.model.decoder, f"stage{number}"],
                id=os.environ.get("WANDB_RUN_ID") or read_run_id(folder),  # that of a sweep goes first
            )
        )
    return loggers + [_further(name, folder) for name in config.logging.also]


def _further(name: str, folder: Path) -> Logger:
    if name == "csv":
        return CSVLogger(folder, name="csv")  # a file per attempt: one of its own is overwritten
    try:
        return TensorBoardLogger(folder, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise PisamError(
            "logging.also: tensorboard is not installed: pip install 'pisam[tensorboard]'"
        ) from error
