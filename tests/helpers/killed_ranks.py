"""Run by test_killed.py: `pisam` whose ranks all die by SIGKILL before a step.

`python killed_ranks.py STEP ARGUMENT ...`; STEP -1 lets it live.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from lightning.pytorch import Callback, Trainer

from pisam import cli
from pisam.commands import train


class DieAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    callbacks = train.build_callbacks
    train.build_callbacks = lambda *a: [*callbacks(*a), DieAt(int(sys.argv[1]))]
    sys.exit(cli.main(sys.argv[2:]))
