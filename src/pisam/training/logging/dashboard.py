"""Facts for a W&B dashboard besides numbers: axes, best values, environment, changes to the code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from pisam.core.provenance import environment, git_diff
from pisam.training.logging.wandb_logger import tell_wandb
from pisam.training.resume.ranks import from_every_rank

X_AXIS = "trainer/global_step"
DIFF = "git.diff"


class Dashboard(Callback):
    """Sends W&B once the meaning of the curves and the base of the run.

    Args:
        scores: names of the validation scores, without `val/`; of each the largest value is the summary.
    """

    def __init__(self, scores: Sequence[str]) -> None:
        self.summaries = {
            **{f"val/{name}": "max" for name in scores},
            "train/loss": "min",
            "train/grad_norm": "max",
            "perf/memory_gb": "max",
            "perf/images_per_second": "mean",
            "perf/step_ms": "mean",
            "perf/data_wait": "mean",
        }

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        devices = from_every_rank(trainer, _device_name(pl_module.device))
        tell_wandb(trainer, lambda run: self._describe(run, devices))

    def _describe(self, run: Any, devices: list[str]) -> None:
        run.define_metric(X_AXIS)
        for name, summary in self.summaries.items():
            run.define_metric(name, step_metric=X_AXIS, summary=summary)
        run.config.update({"environment": {**environment(), "devices": devices}}, allow_val_change=True)
        if diff := git_diff():
            path = Path(run.dir) / DIFF
            path.write_text(diff, encoding="utf-8")
            run.save(str(path), base_path=run.dir, policy="now")


def last_step(trainer: Trainer) -> int:
    """The step under which Lightning logs a validation: steps are counted from 0."""
    return trainer.global_step - 1


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
