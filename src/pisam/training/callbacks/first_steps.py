"""Prints when the first batch is there and when the first step is done, so that a start is never silent."""

from __future__ import annotations

import logging
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)


class FirstSteps(Callback):
    """Three lines at the start of training; then it is silent."""

    def __init__(self) -> None:
        self._since = 0.0
        self._logged = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.monotonic()
        self._log(trainer, 0, f"first batch: waiting for {trainer.world_size} x loader ...")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        self._log(trainer, 1, f"first batch: {len(batch)} images after {self._seconds()}; first step ...")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._log(trainer, 2, f"first step: done {self._seconds()} after the start of training")

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._since:.1f} s"

    def _log(self, trainer: Trainer, line: int, text: str) -> None:
        if self._logged == line:
            self._logged += 1
            if trainer.is_global_zero:
                log.info(text)
