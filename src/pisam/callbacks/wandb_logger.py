"""The W&B run of a stage: how it begins, and how it ends when the server is gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from pisam.errors import PisamError

SECONDS_TO_FINISH = 60.0  # to wait for a server that is gone; what is not uploaded stays on disk


def wandb_logger(folder: Path, *, mode: str, config: dict[str, Any], **options: Any) -> WandbLogger:
    """Lightning's logger with the mode and time limits said explicitly, not left to the environment.

    Args:
        folder: of the stage; all that W&B writes lies below it, also what it prepares for upload.
        mode: offline or online.
        config: everything the numbers depend on, in plain values.
        options: name, project, group, job_type and tags, as `wandb.init` takes them.
    """
    if not os.environ.get("WANDB_MODE", "-"):
        del os.environ["WANDB_MODE"]  # set but empty, it is an error to W&B
    os.environ.setdefault("WANDB_DATA_DIR", str((folder / "wandb").resolve()))
    return WandbLogger(
        save_dir=folder,
        offline=mode == "offline",
        mode=mode,
        config=config,
        settings={"finish_timeout": SECONDS_TO_FINISH},
        **options,
    )


def begin_logging(loggers: list[Logger]) -> None:
    """Begin the W&B run now rather than amid the first step.

    Raises:
        PisamError: no account, or no server.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            try:
                _ = logger.experiment
            except wandb.errors.Error as error:
                reason = " ".join(str(error).split())
                raise PisamError(
                    f"logging.mode=online: W&B says: {reason}; run `wandb login`, or set "
                    "logging.mode=offline and upload with `wandb sync` later"
                ) from error
