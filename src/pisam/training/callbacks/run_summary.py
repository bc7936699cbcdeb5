"""The results of a stage in `summary.json`: its presence means that the stage is complete."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pisam.core.files import write_json
from pisam.training.callbacks.ends import stopped_early
from pisam.training.logging.wandb_logger import tell_wandb


class RunSummary(Callback):
    """Remembers the scores of the best validation and writes them down at the end.

    Args:
        path: `summary.json` of the stage.
        monitor: metric whose largest value makes a validation the best.
        facts: what else belongs to the numbers: revision, frozen hash, protocol.
    """

    def __init__(self, path: Path, *, monitor: str, facts: dict[str, Any]) -> None:
        self.path = path
        self.monitor = monitor
        self.facts = facts
        self.best: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.seconds = 0.0  # of the attempts before this one
        self._complete = False
        self._started = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "last": self.last, "seconds": self._elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.last, self.seconds = state_dict["best"], state_dict["last"], state_dict["seconds"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        scores = {n: float(v) for n, v in trainer.callback_metrics.items() if n.startswith("val/")}
        self.last = scores
        if not self.best or scores[self.monitor] > self.best[self.monitor]:
            self.best = scores

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._complete = is_complete(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """After the last look of all callbacks: an error of theirs keeps the stage incomplete."""
        if not self._complete or not trainer.is_global_zero:
            return
        summary = {
            **self.facts,
            "steps": trainer.global_step,
            "stopped_early": stopped_early(trainer),
            "seconds": round(self._elapsed(), 1),
            "best_by": self.monitor,
            "best": self.best,
            "last": self.last,
        }
        write_json(summary, self.path)
        best = {f"best/{name}": value for name, value in self.best.items()}
        tell_wandb(trainer, lambda run: run.summary.update(best))

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self._started


def is_complete(trainer: Trainer) -> bool:
    """True where a stage is done: one that `trainer.max_time` or a signal ended goes on later."""
    return trainer.global_step >= trainer.estimated_stepping_batches or stopped_early(trainer)
