"""An error of one rank, printed before anything waits for the others, and made to end them all."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from pisam.core.errors import PisamError

SECONDS_TO_CLOSE_LOGS = 15.0


class FirstError(Callback):
    """Keeps several ranks from waiting for one that failed.

    A rank that fails tells its error and ends at once, for its clean-up could wait for the others for ever;
    nothing is saved, as not all ranks stand at the same step. Rank 0 first ends the processes it started and
    may take a few seconds to close its logs. Processes that it did not start are ended by what did (`srun
    --kill-on-bad-exit`, `torchrun`), else by the timeout of the next exchange.
    """

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.world_size == 1 or not isinstance(exception, Exception):
            return  # Ctrl-C and agreed ends
        if not trainer.is_global_zero:
            tell_and_end(trainer.global_rank, exception)
        timer = threading.Timer(SECONDS_TO_CLOSE_LOGS, tell_and_end, (0, exception))
        timer.daemon = True
        timer.start()
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            launcher.kill(signal.SIGKILL)
            launcher.procs.clear()  # Lightning's observer of this list would kill rank 0 in turn


def tell_and_end(rank: int, exception: Exception) -> None:
    """Write the error to stderr and end this process without any clean-up, exit code 2 or 1."""
    if isinstance(exception, PisamError):
        text = f"error: {exception}\n"
    else:
        text = "".join(traceback.format_exception(type(exception), exception, exception.__traceback__))
    sys.stderr.write(f"[rank {rank}] {text}")
    sys.stderr.flush()
    os._exit(2 if isinstance(exception, PisamError) else 1)
