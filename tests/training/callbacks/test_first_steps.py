"""The start of training is never silent."""

from __future__ import annotations

import logging
import re

import pytest

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.training.callbacks.first_steps import FirstSteps
from pisam.training.stages.decoder_stage import DecoderStage


def test_three_lines_and_then_silence(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pisam.training.callbacks.first_steps")
    trainer = quiet_trainer(FirstSteps(), max_steps=3)
    trainer.fit(DecoderStage(small_model()), loader(*(small_batch(seed=seed) for seed in range(3))))
    said = [
        record.message for record in caplog.records if record.name == "pisam.training.callbacks.first_steps"
    ]
    assert [re.sub(r"\d+\.\d", "N", line) for line in said] == [
        "first batch: waiting for 1 x loader ...",
        "first batch: 2 images after N s; first step ...",
        "first step: done N s after the start of training",
    ]
