"""Ranks that begin with the same network and data, exchange what they found, and end together."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from lightning.pytorch import Callback, Trainer

from pisam.core.errors import PisamError
from pisam.modeling.sam_weights import hash_tensors


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


class SameStart(Callback):
    """Compares what the ranks start with before DDP exchanges any, and again after a resume.

    DDP sends rank 0's parameters to all others, which would hide another seed, another file of SAM's weights
    or another checkpoint on one node; a data set that is not complete on one node would end in a hang, one
    that is another in a mixture.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if trainer.world_size == 1:
            return
        samples = getattr(getattr(trainer, "datamodule", None), "samples", {})
        self._compare(
            trainer,
            {
                **self.settings,
                "initial weights": hash_tensors(pl_module.model.own_state()),
                "weights of SAM": pl_module.model.frozen_hash(),
                "number of samples": {part: found["sets"] for part, found in samples.items()},
                "names of samples": {part: found["sha256"] for part, found in samples.items()},
                "sizes of the samples' files": {part: found["bytes"] for part, found in samples.items()},
            },
        )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.world_size == 1:
            return
        facts = {"weights": hash_tensors(pl_module.model.own_state()), "step": trainer.global_step}
        self._compare(trainer, facts)

    @staticmethod
    def _compare(trainer: Trainer, facts: dict[str, Any]) -> None:
        first, *others = from_every_rank(trainer, facts)
        for rank, theirs in enumerate(others, start=1):
            for name, value in first.items():
                if theirs[name] != value:
                    fail_together(
                        trainer,
                        f"the ranks do not start alike: {name} of rank 0 {_short(value)}, of rank {rank} "
                        f"{_short(theirs[name])}; every node needs the same seed, files and configuration",
                    )


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    return value[:12] if isinstance(value, str) else value
