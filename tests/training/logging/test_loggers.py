"""Every number is a line; W&B's faults end no training."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from helpers.small_runs import quiet_trainer, small_config
from pisam.core.errors import PisamError
from pisam.training.logging.loggers import (
    JsonLinesLogger,
    StageRun,
    begin_logging,
    finish_logging,
    new_run_id,
    read_run_id,
)
from pisam.training.run_folder import stage_dir
from pisam.training.trainer import build_loggers


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


def test_the_same_until_the_stage_begins_afresh(tmp_path: Path) -> None:
    assert read_run_id(tmp_path) is None
    new_run_id(tmp_path)
    first = read_run_id(tmp_path)
    assert first == read_run_id(tmp_path) and first and first.isalnum()
    new_run_id(tmp_path)
    assert read_run_id(tmp_path) != first


def test_wandb_gets_it_and_a_sweeps_own_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(tmp_path, tmp_path, "logging.mode=offline")
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)

    def settings() -> dict[str, Any]:
        return build_loggers(config, 2, {})[1]._wandb_init  # type: ignore[attr-defined]

    assert settings()["id"] is None
    new_run_id(stage_dir(config, 2))
    assert settings()["id"] == read_run_id(stage_dir(config, 2))
    assert settings()["resume"] == "allow"
    monkeypatch.setenv("WANDB_RUN_ID", "of-the-sweep")
    assert settings()["id"] == "of-the-sweep"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"../../x", b"a" * 500, b"x\ny"])
def test_a_file_of_something_else_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "wandb_id").write_bytes(content)
    with pytest.raises(PisamError, match=r"wandb_id: expected the id of a W&B run, got '") as error:
        read_run_id(tmp_path)
    assert "\n" not in str(error.value)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageRun:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "10")
    run = StageRun(tmp_path, mode="offline", config={}, project="small-tests")
    begin_logging([run])
    return run


def test_wandb_is_given_nothing_that_it_warns_of(run: StageRun) -> None:
    assert "anonymous" not in run._wandb_init
    finish_logging([run])


@pytest.mark.parametrize("error", [OSError(22, "Invalid argument"), RuntimeError("no\nport")], ids=repr)
def test_a_w_and_b_that_cannot_begin_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("wandb.init", fail)
    with pytest.raises(PisamError, match=r"logging\.mode=offline: W&B cannot begin a run: ") as told:
        begin_logging([StageRun(tmp_path, mode="offline", config={}, project="small-tests")])
    message = str(told.value)
    assert type(error).__name__ in message and "\n" not in message
    assert message.endswith("mend that, or set logging.mode=disabled")


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
