"""The end of a stage: a last validation, an early one, its summary, and its checkpoints in W&B."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from pisam.core.files import read_text, write_json
from pisam.training.logging.loggers import tell_wandb


class EarlyStop(EarlyStopping):
    """Lightning's, also for a run that was killed between its decision and its end: resumed, it ends at once.

    Args:
        monitor: the score, the larger the better.
        patience: validations in a row without a better score.
    """

    def __init__(self, *, monitor: str, patience: int) -> None:
        super().__init__(
            monitor, patience=patience, mode="max", check_finite=False, check_on_train_epoch_end=False
        )

    @property
    def decided(self) -> bool:
        """True where the stage is complete by this rule."""
        return self.wait_count >= self.patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop |= self.decided


def stopped_early(trainer: Trainer) -> bool:
    """True where an `EarlyStop` of the trainer has decided that its stage is complete."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return any(callback.decided for callback in callbacks if isinstance(callback, EarlyStop))


class FinalValidation(Callback):
    """Validates the last epoch whatever `val_every` is, and a run of `max_steps` after its last step.

    Lightning counts batches, and the last step of an epoch may accumulate fewer of them than the others.

    Args:
        steps: `max_steps`, -1 where epochs are counted.
    """

    def __init__(self, steps: int = -1) -> None:
        self.steps = steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.steps > 0:
            batches, accumulate = int(trainer.num_training_batches), trainer.accumulate_grad_batches
            epochs, rest = divmod(self.steps, -(-batches // accumulate))
            trainer.val_check_batch = epochs * batches + rest * accumulate
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.check_val_every_n_epoch and trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1


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
        saved = yaml.safe_load(read_text(stage / "config.yaml"))
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
