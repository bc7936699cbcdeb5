"""`last.ckpt`, from which a killed run continues as if nothing had happened."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pisam.callbacks.jsonl_logger import JsonLinesLogger
from pisam.checkpoint_io import VerifiedCheckpointIO
from pisam.errors import PisamError

log = logging.getLogger(__name__)

KEY = "pisam_position"


@dataclass(frozen=True)
class Position:
    """A moment between two optimiser steps, with all that was logged until then.

    Attributes:
        step: optimiser steps done.
        epoch: the epoch that the next batch belongs to.
        batches: batches of it that were trained on.
        total: batches of all epochs that were trained on.
        logged: bytes of metrics.jsonl (on rank 0, else 0).
    """

    step: int
    epoch: int
    batches: int
    total: int
    logged: int


class LastCheckpoint(Callback):
    """Saves at most `seconds` and a step after the save before, at the start of each epoch, and at the end.

    What is saved is always a moment between two optimiser steps, also amid accumulated gradients, and never
    between a validation that is due and its scores. On resume, rows of metrics.jsonl that were written after
    that moment give way to those that the same steps write again.

    It must be the first callback: what the others do and log before a step belongs to that step.

    Args:
        path: `last.ckpt`.
        seconds: 0 saves after every step.
    """

    def __init__(self, path: Path, *, seconds: float) -> None:
        self.path = path
        self.seconds = seconds
        self._position: Position | None = None
        self._saved: Position | None = None
        self._saved_at = 0.0

    def save(self, trainer: Trainer) -> bool:
        """Write `last.ckpt` now; every rank must call this at the same place.

        Returns:
            False where there is no moment to save: before the first step, from the end of a step until it is
            logged (call it from `on_train_batch_start`), and in a validation, which a resumed run repeats
            after the few seconds of training since the last save.

        Raises:
            PisamError: on all ranks, where rank 0 cannot write.
        """
        if not self._is_current(trainer) or trainer.global_step == 0:
            return False
        # Only rank 0 knows what was logged: the others must not decide by themselves.
        if trainer.strategy.reduce_boolean_decision(self._saved != self._position, all=False):
            checkpoint_io = trainer.strategy.checkpoint_io
            assert isinstance(checkpoint_io, VerifiedCheckpointIO)
            for logger in _json_lines(trainer):
                logger.sync()
            with checkpoint_io.agreeing(trainer):
                trainer.save_checkpoint(self.path, weights_only=False)
        self._saved, self._saved_at = self._position, time.monotonic()
        return True

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["callbacks"].pop("Timer", None)  # trainer.max_time is that of one attempt
        if self._position is None or not self._is_current(trainer):
            return
        position = self._position
        checkpoint[KEY] = {**asdict(position), "ranks": trainer.world_size}
        # Lightning has several ways to continue from what its counters say in different hooks. These values,
        # whatever hook saves, always lead to the plain one: go on with the next batch.
        begun = position.epoch + (position.batches > 0)
        checkpoint["loops"]["fit_loop"] |= {
            "epoch_progress": _progress((begun, position.epoch), (begun, position.epoch)),
            "epoch_loop.batch_progress": {
                **_progress((position.total,) * 2, (position.batches,) * 2),
                "is_last_batch": False,
            },
            "epoch_loop.val_loop.batch_progress": {
                **_progress((0, 0), (0, 0)),
                "is_last_batch": False,
            },
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = dict(checkpoint.get(KEY) or {})
        if not saved:
            raise PisamError(f"checkpoint {trainer.ckpt_path}: cannot be resumed from, it has no {KEY}")
        ranks = saved.pop("ranks")
        if ranks != trainer.world_size:
            raise PisamError(
                f"checkpoint {trainer.ckpt_path}: this run was started on {ranks} ranks, now there are "
                f"{trainer.world_size}: its batches would be others; give it {ranks} ranks again, or choose "
                "another run_dir"
            )
        self._position = self._saved = Position(**saved)
        for logger in _json_lines(trainer):
            logger.rewind(self._position.logged)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        self._reach(trainer, trainer.current_epoch, batch_idx)
        due = time.monotonic() - self._saved_at >= self.seconds
        if batch_idx == 0 or trainer.strategy.reduce_boolean_decision(due, all=False):
            self.save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A run that trainer.max_time stops amid an epoch is validated out of turn: it continues from before.
        if trainer.should_stop and not _due(trainer):
            self._reach(trainer, trainer.current_epoch, _batches(trainer))
            self.save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _due(trainer):
            self._reach(trainer, trainer.current_epoch, _batches(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._is_current(trainer) or _batches(trainer) == trainer.num_training_batches:
            self._reach(trainer, trainer.current_epoch, _batches(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save(trainer)

    def _reach(self, trainer: Trainer, epoch: int, batches: int) -> None:
        """Note that all up to here is done and logged; amid accumulated gradients the note before stays."""
        ended = batches == trainer.num_training_batches
        if batches % trainer.accumulate_grad_batches and not ended:
            return
        self._position = Position(
            step=trainer.global_step,
            epoch=epoch + ended,
            batches=0 if ended else batches,
            total=trainer.fit_loop.epoch_loop.batch_progress.total.state_dict()["processed"],
            logged=sum(logger.size() for logger in _json_lines(trainer)),
        )

    def _is_current(self, trainer: Trainer) -> bool:
        return self._position is not None and self._position.step == trainer.global_step


def save_last(trainer: Trainer) -> bool:
    """Write the trainer's `last.ckpt` now, see `LastCheckpoint.save`; False too where it keeps none."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    own = next((callback for callback in callbacks if isinstance(callback, LastCheckpoint)), None)
    return own is not None and own.save(trainer)


def _json_lines(trainer: Trainer) -> list[JsonLinesLogger]:
    """The loggers whose file this rank writes."""
    if not trainer.is_global_zero:
        return []
    return [logger for logger in trainer.loggers if isinstance(logger, JsonLinesLogger)]


def _batches(trainer: Trainer) -> int:
    """Batches of the epoch that were trained on."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.state_dict()["processed"]


def _due(trainer: Trainer) -> bool:
    """Whether a validation after the step just made is one of the run's own."""
    at_the_end = trainer.max_steps > 0 and trainer.global_step >= trainer.max_steps
    return at_the_end or _batches(trainer) == trainer.num_training_batches


def _progress(total: tuple[int, int], current: tuple[int, int]) -> dict[str, dict[str, int]]:
    """Lightning's counters of (begun, ended) events."""
    return {
        name: {"ready": begun, "completed": ended, "started": begun, "processed": ended}
        for name, (begun, ended) in (("total", total), ("current", current))
    }
