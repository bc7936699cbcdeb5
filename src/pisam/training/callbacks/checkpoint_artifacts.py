"""Checkpoints as W&B artifacts: which stage 1 a stage 2 was made from."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from pisam.training.callbacks.run_summary import is_complete
from pisam.training.logging.wandb_logger import tell_wandb


class CheckpointArtifacts(Callback):
    """Logs a complete stage's checkpoints as versions of one artifact, and what it started from as input.

    Aliases: `last` for `last.ckpt`, `best` and W&B's own `latest` for `best.ckpt`. Files are named where they
    lie, not copied: an offline run is to be synced before its checkpoints move.

    Args:
        folder: of the checkpoints.
        name: of the artifact.
        start: the checkpoint that the stage starts from, if any.
    """

    def __init__(self, folder: Path, *, name: str, start: Path | None) -> None:
        self.folder = folder
        self.name = name
        self.start = start

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        start = self.start
        if start is not None:
            tell_wandb(trainer, lambda run: _use(run, start))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_complete(trainer):
            tell_wandb(trainer, self._log)

    def _log(self, run: Any) -> None:
        for alias in ("last", "best"):  # W&B gives `latest` to the last one logged
            path = self.folder / f"{alias}.ckpt"
            if path.is_file():
                run.log_artifact(_artifact(self.name, path), aliases=[alias])


def artifact_name(checkpoint: Path) -> str:
    """W&B's name for the checkpoint of a run of ours; another file's own name, in the letters it allows."""
    stage = checkpoint.parent.parent
    with suppress(OSError, ValueError, yaml.YAMLError, KeyError, TypeError):  # no folder of a run
        saved = yaml.safe_load((stage / "config.yaml").read_text(encoding="utf-8"))
        return f"{saved['logging']['group']}-{stage.name}"
    return re.sub(r"[^\w.-]", "_", checkpoint.stem)


def _use(run: Any, checkpoint: Path) -> None:
    """Do what `use_artifact`, which rejects offline runs, does with an artifact that is not uploaded yet.

    Equal content makes it the very version that stage 1 logged.
    """
    run._log_artifact(
        _artifact(artifact_name(checkpoint), checkpoint),
        aliases=["best"],
        is_user_created=True,
        use_after_commit=True,
    )


def _artifact(name: str, path: Path) -> Any:
    import wandb

    artifact = wandb.Artifact(name, type="model")
    artifact.add_file(str(path.resolve()), name=path.name, policy="immutable", skip_cache=True)
    return artifact
