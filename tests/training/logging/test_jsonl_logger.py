"""Rows are on disk at once, and those after a checkpoint give way to the steps that are taken again."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from pisam.core.errors import PisamError
from pisam.training.logging.jsonl_logger import JsonLinesLogger


def test_rewound_file_continues_without_gap_or_duplicate(tmp_path: Path) -> None:
    logger = JsonLinesLogger(tmp_path / "metrics.jsonl")
    assert logger.size() == 0
    logger.sync()
    for step in range(3):
        logger.log_metrics({"train/loss": 0.5}, step)
    size = logger.size()
    logger.log_metrics({"train/loss": 0.5}, 3)
    with logger.path.open("a") as file:
        file.write('{"step": 4, "tra')  # killed amid a row
    logger.rewind(size)
    logger.rewind(size)
    logger.log_metrics({"train/loss": 0.25}, 3)
    rows = [json.loads(line) for line in logger.path.read_text().splitlines()]
    assert rows == [{"step": s, "train/loss": loss} for s, loss in enumerate([0.5, 0.5, 0.5, 0.25])]


def test_lost_rows_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = JsonLinesLogger(tmp_path / "metrics.jsonl")
    with caplog.at_level(logging.WARNING):
        logger.rewind(10)
    assert "metrics.jsonl: lines are missing" in caplog.text


def test_row_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    logger = JsonLinesLogger(tmp_path / "absent" / "metrics.jsonl")
    with pytest.raises(PisamError, match=r"metrics\.jsonl: not written: No such file"):
        logger.log_metrics({"train/loss": 1.0}, 0)
