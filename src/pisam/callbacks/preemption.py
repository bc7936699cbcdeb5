"""A job that is told to go saves its state with all ranks and leaves."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from pisam.callbacks.ranks import any_rank, end_without_being_killed, from_every_rank

log = logging.getLogger(__name__)

# SLURM warns with the signal it was asked to use, submitit with SIGUSR2, most others with SIGTERM.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
EXIT_CODE = 128 + signal.SIGTERM
VALIDATION_BATCHES_BETWEEN = 8  # an exchange at each would make all ranks wait for the slowest


class Preempted(SystemExit):
    """Every rank has saved and leaves, exit code 143."""

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


class Preemption(Callback):
    """Turns SIGTERM, SIGUSR1 or SIGUSR2 to any rank into one collective save and exit code 143.

    A signal only sets a flag. After the optimiser step under way the ranks agree, save together, and leave at
    the next hook: Lightning writes the step's row of metrics between the two. A validation is left too, from
    where all ranks still have images; the state was saved before it began.

    Args:
        checkpoint: file that a resumed run starts from.

    Attributes:
        agreed: the ranks have agreed to leave. If training was over by then, it is complete all the same.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.agreed = False
        self._requested = False
        self._step = 0
        self._common_batches = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over from Lightning, whose own handler exchanges data in the middle of a step."""
        self._requested |= trainer.received_sigterm
        self._step = trainer.global_step
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._request)  # Lightning puts the former handlers back when it ends

    def _request(self, number: int, frame: FrameType | None) -> None:
        self._requested = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:  # gradients are being accumulated, which no checkpoint holds
            return
        self._step = trainer.global_step
        if self._agree(trainer):
            trainer.save_checkpoint(self.checkpoint, weights_only=False)
            if trainer.is_global_zero:
                log.info("told to go: saved step %d; the same command continues it", trainer.global_step)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._leave_if_agreed(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave_if_agreed(trainer)
        self._common_batches = min(from_every_rank(trainer, sum(trainer.num_val_batches)))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx < self._common_batches and batch_idx % VALIDATION_BATCHES_BETWEEN == 0:
            self._agree(trainer)
            self._leave_if_agreed(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._leave_if_agreed(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._agree(trainer):
            end_without_being_killed(trainer)

    def _agree(self, trainer: Trainer) -> bool:
        self.agreed = self.agreed or any_rank(trainer, self._requested)
        return self.agreed

    def _leave_if_agreed(self, trainer: Trainer) -> None:
        if self.agreed:
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.experiment.mark_preempting()  # a sweep then gives the run to another agent
            end_without_being_killed(trainer)
            raise Preempted
