"""`trainer.max_time`: the end of an attempt, agreed upon by all ranks."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pisam.training.stages.exchange import Exchanging, Number


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
