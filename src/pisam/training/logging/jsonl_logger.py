"""Every logged number as a line of JSON, on disk at once: W&B's offline files lose rows of a killed run."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from pisam.core.files import writing

log = logging.getLogger(__name__)


class JsonLinesLogger(Logger):
    """Appends `{"step": ..., "train/loss": ...}` lines to a file.

    Args:
        path: the file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return "jsonl"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # Closed, hence flushed, line by line.
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def size(self) -> int:
        """Bytes of all lines so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def sync(self) -> None:
        """Have the lines on the disk before a checkpoint counts them."""
        if self.path.exists():
            with writing(self.path), self.path.open("ab") as file:
                os.fsync(file.fileno())

    def rewind(self, size: int) -> None:
        """Remove the lines after the first `size` bytes: the steps that wrote them are taken again."""
        if self.size() < size:
            log.warning("%s: lines are missing, it is shorter than when the run was saved", self.path)
        elif self.size() > size:
            with writing(self.path):
                os.truncate(self.path, size)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is saved beside the file."""
