"""`last.ckpt`, from which a killed run continues as if nothing had happened."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pisam.core.errors import PisamError
from pisam.data.datamodule import PairDataModule
from pisam.training.logging.loggers import JsonLinesLogger
from pisam.training.resume.checkpoint_io import VerifiedCheckpointIO
from pisam.training.stages.stage import Exchanging, Number

KEY = "pisam_position"


@dataclass(frozen=True)
class Position:
    """A moment between two optimiser steps, with all that was logged until then."""

    step: int  # optimiser steps done
    epoch: int  # the epoch that the next batch belongs to
    batches: int  # batches of it that were trained on
    total: int  # batches of all epochs that were trained on
    logged: int  # bytes of metrics.jsonl (on rank 0, else 0)
    unscored: bool = False  # a validation is due before anything else


class LastCheckpoint(Callback, Exchanging):
    """Saves at most `seconds` and a step after the save before, around each validation, and at the end.

    What is saved is always a moment between two optimiser steps, also amid accumulated gradients; a resumed
    run begins with the validation that was due then or under way. Rows of metrics.jsonl that were written
    after that moment give way to those that the same steps write again.

    Its place in the list of callbacks does not matter, as long as none logs a row of its own in
    `on_train_batch_start`.

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
        self._max_steps: int | None = None
        self._planned: int | None = None  # optimiser steps of the whole run, as it began
        self._due = False  # on some rank, when the last step was taken

    def offer(self) -> dict[str, Number]:
        return {"save is due": float(self._is_due())}

    def hear(self, numbers: Mapping[str, Sequence[float]]) -> None:
        self._due = any(numbers["save is due"])

    def save(self, trainer: Trainer) -> bool:
        """Write `last.ckpt` now; every rank must call this at the same place.

        Returns:
            False where there is no moment to save: before the first step, and from the end of a step until
            it is logged: call it from `on_train_batch_start` or in a validation.

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
        self._saved, self._saved_at, self._due = self._position, time.monotonic(), False
        return True

    def _steps(self, trainer: Trainer) -> int:
        return int(trainer.estimated_stepping_batches) if self._max_steps is None else self._max_steps

    def _is_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self.seconds

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["callbacks"].pop("Timer", None)  # trainer.max_time is that of one attempt
        if self._position is None or not self._is_current(trainer):
            return
        position = self._position
        checkpoint[KEY] = {
            **asdict(position),
            "ranks": trainer.world_size,
            "planned": self._steps(trainer),
            "samples": _samples(trainer),
        }
        # Lightning has several ways to continue from what its counters say in different hooks. These values,
        # whatever hook saves, always lead to two of them: go on with the next batch, or with a validation of
        # which the first batch was begun.
        begun = position.epoch + (position.batches > 0)
        checkpoint["loops"]["fit_loop"] |= {
            "epoch_progress": _progress((begun, position.epoch), (begun, position.epoch)),
            # The step under which the loggers file the next row; Lightning counts on after a validation.
            "epoch_loop.state_dict": {"_batches_that_stepped": position.step - position.unscored},
            "epoch_loop.batch_progress": {
                **_progress((position.total,) * 2, (position.batches,) * 2),
                "is_last_batch": position.batches == trainer.num_training_batches,
            },
            "epoch_loop.val_loop.batch_progress": {
                **_progress((int(position.unscored), 0), (0, 0)),
                "is_last_batch": False,
            },
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = dict(checkpoint.get(KEY) or {})
        if not saved:
            raise PisamError(f"checkpoint {trainer.ckpt_path}: cannot be resumed from, it has no {KEY}")
        ranks, self._planned = saved.pop("ranks"), saved.pop("planned", None)
        refuse_other_samples(trainer.ckpt_path, saved.pop("samples", None), _samples(trainer))
        if ranks != trainer.world_size:
            raise PisamError(
                f"checkpoint {trainer.ckpt_path}: this run was started on {ranks} ranks, now there are "
                f"{trainer.world_size}: its batches would be others; give it {ranks} ranks again, or choose "
                "another run_dir"
            )
        self._position = self._saved = Position(**saved)
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, PairDataModule):
            data.resume_at = self._position.epoch, self._position.batches
        for logger in _json_lines(trainer):
            logger.rewind(self._position.logged)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        position = self._position
        if position is not None and position.unscored and 0 < trainer.max_steps <= position.step:
            # Lightning would leave at once: all steps are taken. The end is put off by one, until the
            # validation begins.
            self._max_steps = trainer.max_steps
            trainer.fit_loop.epoch_loop.max_steps += 1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()
        planned = self._steps(trainer)
        if self._planned not in (None, planned) and _samples(trainer) is not None:
            raise PisamError(
                f"checkpoint {trainer.ckpt_path}: this run was begun for {self._planned} steps, now it would "
                f"be one of {planned}, with another schedule; give it the data and settings it had, or "
                "choose another run_dir"
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        self.reach_batch(trainer, batch_idx)
        if batch_idx == 0 or (self._is_due() if trainer.world_size == 1 else self._due):
            self.save(trainer)

    def reach_batch(self, trainer: Trainer, batch_idx: int) -> None:
        """Note that the next batch of the epoch is this one, and all before it is logged."""
        self._reach(trainer, trainer.current_epoch, batch_idx)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._max_steps is not None:
            trainer.fit_loop.epoch_loop.max_steps, self._max_steps = self._max_steps, None
        # A run that trainer.max_time stops amid an epoch is validated out of turn: it continues from before.
        due = _validation_is_due(trainer)
        self._reach(trainer, trainer.current_epoch, _batches(trainer), unscored=due)
        self.save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _validation_is_due(trainer):
            self._reach(trainer, trainer.current_epoch, _batches(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._is_current(trainer) or _batches(trainer) == trainer.num_training_batches:
            self._reach(trainer, trainer.current_epoch, _batches(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save(trainer)

    def _reach(self, trainer: Trainer, epoch: int, batches: int, unscored: bool = False) -> None:
        """Note that all up to here is done and logged; amid accumulated gradients the note before stays."""
        ended = batches == trainer.num_training_batches
        if batches % trainer.accumulate_grad_batches and not ended:
            return
        next_epoch = ended and not unscored
        self._position = Position(
            step=trainer.global_step,
            epoch=epoch + next_epoch,
            batches=0 if next_epoch else batches,
            total=trainer.fit_loop.epoch_loop.batch_progress.total.state_dict()["processed"],
            logged=sum(logger.size() for logger in _json_lines(trainer)),
            unscored=unscored,
        )

    def _is_current(self, trainer: Trainer) -> bool:
        return self._position is not None and self._position.step == trainer.global_step


def save_last(trainer: Trainer, batch_idx: int | None = None) -> bool:
    """Write the trainer's `last.ckpt` now, see `LastCheckpoint.save`; False too where it keeps none.

    `batch_idx` is the next batch of the epoch, where no step is under way.
    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    own = next((callback for callback in callbacks if isinstance(callback, LastCheckpoint)), None)
    if own is not None and batch_idx is not None:
        own.reach_batch(trainer, batch_idx)
    return own is not None and own.save(trainer)


def refuse_other_samples(path: Any, before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> None:
    """Refuse to go on with other images than a run began with: order, schedule and best score rest on them.

    Args:
        path: the checkpoint.
        before: `PairDataModule.samples` as the checkpoint holds them; None where an older version wrote it.
        now: those that were found.

    Raises:
        PisamError: names both numbers.
    """
    for part, found in (now or {}).items():
        begun = (before or {}).get(part)
        if begun is None or all(begun.get(key, digest) == digest for key, digest in found.items()):
            continue
        how = ""
        if begun["sets"] == found["sets"]:
            differing = next(key for key, digest in found.items() if begun.get(key, digest) != digest)
            how = {"sha256": ", of other names", "bytes": ", in files of other sizes"}.get(
                differing, ", in files of other contents"
            )
        raise PisamError(
            f"checkpoint {path}: this run was begun with {_counted(begun)} in data.{part}, now there are "
            f"{_counted(found)}{how}; put back what was there, or choose another run_dir"
        )


def _counted(samples: Mapping[str, Any]) -> str:
    sets: dict[str, int] = samples["sets"]
    each = ", ".join(f"{name} {count}" for name, count in sets.items())
    return f"{sum(sets.values())} samples ({each})"


def _samples(trainer: Trainer) -> dict[str, Any] | None:
    data = getattr(trainer, "datamodule", None)
    return data.samples if isinstance(data, PairDataModule) else None


def _json_lines(trainer: Trainer) -> list[JsonLinesLogger]:
    """The loggers whose file this rank writes."""
    if not trainer.is_global_zero:
        return []
    return [logger for logger in trainer.loggers if isinstance(logger, JsonLinesLogger)]


def _batches(trainer: Trainer) -> int:
    """Batches of the epoch that were trained on."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.state_dict()["processed"]


def _validation_is_due(trainer: Trainer) -> bool:
    """True where the validation after this step is one of the run's own, not that of a stop amid an epoch."""
    at_the_end = trainer.max_steps > 0 and trainer.global_step >= trainer.max_steps
    return at_the_end or _batches(trainer) == trainer.num_training_batches


def _progress(total: tuple[int, int], current: tuple[int, int]) -> dict[str, dict[str, int]]:
    """Lightning's counters of (begun, ended) events."""
    return {
        name: {"ready": begun, "completed": ended, "started": begun, "processed": ended}
        for name, (begun, ended) in (("total", total), ("current", current))
    }
