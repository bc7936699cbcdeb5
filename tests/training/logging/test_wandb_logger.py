"""What goes wrong with W&B is told and ends nothing; a server: tests/test_wandb_server.py."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from helpers.small_runs import quiet_trainer
from pisam.training.logging.wandb_logger import StageRun, begin_logging, finish_logging


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageRun:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "10")
    run = StageRun(tmp_path, mode="offline", config={}, project="small-tests")
    begin_logging([run])
    return run


def test_failure_is_told_once_and_not_raised(run: StageRun, caplog: pytest.LogCaptureFixture) -> None:
    def fail(text: str) -> None:
        raise OSError(text)

    for text in ("no route", "no route", "no\nspace"):
        run.tell(lambda _, text=text: fail(text))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        f"W&B: OSError: {text}; training goes on, metrics.jsonl has every number"
        for text in ("no route", "no space")
    ]
    finish_logging([run])


def test_begins_and_ends_nothing_without_a_run() -> None:
    begin_logging(quiet_trainer().loggers)
    finish_logging(quiet_trainer().loggers)
