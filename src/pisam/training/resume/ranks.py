"""Exchange, agreement and a common end of the processes of one training."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import torch
from lightning.pytorch import Trainer

from pisam.core.errors import PisamError


def any_rank(trainer: Trainer, answer: bool) -> bool:
    """True where `answer` is true on at least one rank; every rank must ask."""
    return bool(trainer.strategy.reduce_boolean_decision(answer, all=False))


def from_every_rank(trainer: Trainer, value: Any) -> list[Any]:
    """The ranks' values, on every rank; for rare use, any picklable value will do."""
    if trainer.world_size == 1:
        return [value]
    values: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def leave_together(trainer: Trainer, code: int) -> NoReturn:
    """End every rank as all have agreed, rank 0 with the exit code.

    The others say 0: at any other code what started the processes (Lightning, `srun --kill-on-bad-exit`)
    would kill rank 0 while it closes its logs, and the exit code would be that of the kill.
    """
    sys.exit(code if trainer.is_global_zero else 0)  # W&B hears of this, not of a SystemExit by itself


def fail_together(trainer: Trainer, message: str) -> NoReturn:
    """End every rank over an error that all know; rank 0 prints it, exit code 2."""
    if trainer.is_global_zero:
        raise PisamError(message)
    leave_together(trainer, 2)
