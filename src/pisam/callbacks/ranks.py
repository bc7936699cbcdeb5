"""How the processes of one training ask, agree and end together."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from pisam.errors import PisamError


def any_rank(trainer: Trainer, answer: bool) -> bool:
    """Whether `answer` is true on at least one rank; every rank must ask."""
    return bool(trainer.strategy.reduce_boolean_decision(answer, all=False))


def from_every_rank(trainer: Trainer, value: Any) -> list[Any]:
    """The ranks' values, on every rank; for rare use, any picklable value will do."""
    if trainer.world_size == 1:
        return [value]
    values: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(values, value)
    return values


def end_without_being_killed(trainer: Trainer) -> list[Any]:
    """Tell Lightning that the other processes of this node end too, as agreed; returns those it had started.

    Its observer kills rank 0 within 5 s after another process ended with an exit code other than 0: too early
    for logs to be closed, and the exit code would be that of the kill.
    """
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher):
        return []
    processes = list(launcher.procs)
    launcher.procs.clear()  # the observer's very list
    return processes


def fail_everywhere(trainer: Trainer, message: str) -> NoReturn:
    """End every rank with exit code 2 over an error that all of them know; rank 0 tells it."""
    end_without_being_killed(trainer)
    if trainer.is_global_zero:
        raise PisamError(message)
    raise SystemExit(2)
