"""Where numbers and pictures go: `metrics.jsonl` and W&B."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from lightning.pytorch.loggers import Logger

from pisam.config.schema import Config, to_plain
from pisam.training.assemble.folders import stage_dir
from pisam.training.logging.jsonl_logger import JsonLinesLogger
from pisam.training.logging.run_id import read_run_id
from pisam.training.logging.wandb_logger import StageRun


def build_loggers(config: Config, number: int, facts: dict[str, Any]) -> list[Logger]:
    """`metrics.jsonl`, and one W&B run per stage in one group, offline unless told otherwise."""
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
    return loggers


def git_revision() -> dict[str, str]:
    """Revision of the working directory's repository, `-dirty` if changed since; empty outside of one."""
    try:
        revision = subprocess.check_output(["git", "rev-parse", "HEAD"], stderr=subprocess.DEVNULL, text=True)
        changed = subprocess.check_output(["git", "status", "--porcelain", "-uno"], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"revision": revision.strip() + ("-dirty" if changed else "")}
