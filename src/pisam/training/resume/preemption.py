"""Preemption and `trainer.max_time`: an attempt that ends early saves its state with all ranks."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from lightning.pytorch import Callback, LightningModule, Trainer

from pisam.training.logging.loggers import tell_wandb
from pisam.training.logging.throughput import FETCH, FetchTimer
from pisam.training.resume.last_checkpoint import save_last
from pisam.training.resume.ranks import any_rank, from_every_rank, leave_together
from pisam.training.stages.stage import Exchanging, Number


class TimeLimit(Callback, Exchanging):
    """Stops training after the step in which the time is up; Lightning's own asks all ranks in each batch.

    Args:
        limit: "DD:HH:MM:SS" of one attempt, from the start of training; None for no end.

    Attributes:
        reached: the time is up on some rank.
    """

    def __init__(self, limit: str | None) -> None:
        days, hours, minutes, seconds = map(int, limit.split(":")) if limit else (0, 0, 0, 0)
        self.seconds = ((days * 24 + hours) * 60 + minutes) * 60 + seconds if limit else math.inf
        self.reached = False
        self._end = math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end = time.monotonic() + self.seconds

    def offer(self) -> dict[str, Number]:
        return {"time is up": float(time.monotonic() >= self._end)}

    def hear(self, numbers: Mapping[str, Sequence[float]]) -> None:
        self.reached = any(numbers["time is up"])

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        trainer.should_stop |= self.reached


log = logging.getLogger(__name__)

# SLURM warns with the signal it was asked to use, submitit with SIGUSR2, most others with SIGTERM.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
EXIT_CODE = 128 + signal.SIGTERM
SECONDS_TO_CLOSE_LOGS = 8.0
SECONDS_FOR_A_BATCH = 20.0  # of several ranks: after a signal, for a batch that is late
_interrupted = threading.Event()
VALIDATION_BATCHES_BETWEEN = 8  # an exchange at each would make all ranks wait for the slowest


class Preemption(Callback, Exchanging):
    """Turns SIGTERM, SIGUSR1 or SIGUSR2 to any rank into one collective save and exit code 143.

    A signal sets a flag. After the optimiser step under way, and its row of metrics, the ranks agree, save
    together and leave. A validation is left while all ranks still have images; the resumed run repeats it.
    A single process that waits for a batch saves and leaves at once. Several cannot agree while one of them
    waits: if its batch is long in coming, it leaves alone, and what started the ranks ends the others;
    `last.ckpt` is then the one before.

    Its place in the list of callbacks does not matter, see `LastCheckpoint`.

    Attributes:
        agreed: the ranks have agreed to leave. If training was over by then, it is complete all the same.
    """

    def __init__(self) -> None:
        self.agreed = False
        self._signalled = False
        self._leaving = False
        self._any_signalled = False  # some rank was, when the last step was taken
        self._sweep_ends_it = False
        self._common_batches = 0
        self._trainer: Any = None  # whose profiler its annotations leave out

    def offer(self) -> dict[str, Number]:
        return {"told to go": float(self._signalled)}

    def hear(self, numbers: Mapping[str, Sequence[float]]) -> None:
        self._any_signalled = any(numbers["told to go"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over from Lightning, whose own handler exchanges data in the middle of a step."""
        raise_if_interrupted()
        self._signalled = self._signalled or trainer.received_sigterm
        self._trainer = trainer
        # Lightning asks all ranks before each batch whether rank 0 has had a SIGTERM.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
        if isinstance(self._trainer.profiler, FetchTimer):
            self._trainer.profiler.before_wait = self._leave_waiting
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._hear)  # Lightning puts the former handlers back when it ends

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
        # W&B's agent sends SIGTERM to a trial that its sweep gave up, which must not be given out again.
        self._sweep_ends_it = number == signal.SIGTERM and "WANDB_SWEEP_ID" in os.environ
        if self._trainer is not None and getattr(self._trainer.profiler, "waiting", False):
            self._leave_waiting()

    def _leave_waiting(self) -> None:
        """In a wait for a batch, or right before one: no step is under way."""
        trainer = self._trainer
        if trainer is None or not self._signalled or self._leaving:
            return
        waiting: str = trainer.profiler.waiting
        if trainer.world_size > 1:
            timer = threading.Timer(SECONDS_FOR_A_BATCH, self._leave_alone, (trainer.profiler, waiting))
            timer.daemon = True
            timer.start()
            return
        self.agreed = True
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.state_dict()["processed"]
        self._leave(trainer, batches if waiting.endswith(FETCH) else None)

    @staticmethod
    def _leave_alone(profiler: Any, waiting: str) -> None:
        if profiler.waiting == waiting:
            sys.stderr.write("told to go: no batch came, so this rank leaves; the same command continues\n")
            sys.stderr.flush()
            os._exit(EXIT_CODE)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        raise_if_interrupted()
        if batch_idx % trainer.accumulate_grad_batches:
            return
        self.agreed |= self._signalled if trainer.world_size == 1 else self._any_signalled
        if self.agreed:
            self._leave(trainer, batch_idx)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._common_batches = min(from_every_rank(trainer, sum(trainer.num_val_batches)))

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        every_rank_asks = batch_idx < self._common_batches and batch_idx % VALIDATION_BATCHES_BETWEEN == 0
        if every_rank_asks and self._agree(trainer):
            self._leave(trainer, None)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._agree(trainer)

    def _agree(self, trainer: Trainer) -> bool:
        self.agreed = self.agreed or any_rank(trainer, self._signalled)
        return self.agreed

    def _leave(self, trainer: Trainer, next_batch: int | None) -> NoReturn:
        self._leaving = True
        saved = save_last(trainer, next_batch)
        if not self._sweep_ends_it:
            tell_wandb(trainer, lambda run: run.mark_preempting())  # a sweep gives it to another agent then
        if trainer.is_global_zero:
            done = f"saved after {trainer.global_step} steps" if saved else "nothing to save yet"
            log.info("told to go: %s; the same command continues", done)
        leave_together(trainer, EXIT_CODE)


@contextmanager
def leaving_when_told() -> Iterator[None]:
    """Exit code 143 at once for a signal that comes when there is nothing to save; also a decorator.

    Ctrl-C is noted besides, see `raise_if_interrupted`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _leave_at_once) for number in SIGNALS}
    _interrupted.clear()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_soon() -> None:
    """End this process with exit code 143 even where W&B waits for its server: its file has the rest."""
    timer = threading.Timer(SECONDS_TO_CLOSE_LOGS, os._exit, (EXIT_CODE,))
    timer.daemon = True
    timer.start()


def raise_if_interrupted() -> None:
    """Raise the KeyboardInterrupt of a Ctrl-C once more where a library has swallowed the first."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    _interrupted.set()
    raise KeyboardInterrupt


def _leave_at_once(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(EXIT_CODE)
