"""A stage that no longer gets better ends, and counts as complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.training.callbacks.ends import EarlyStop, RunSummary
from pisam.training.stages.decoder_stage import DecoderStage


class Scores(Callback):
    """Validations with given scores."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("val/iou", torch.tensor(self.values[trainer.current_epoch]))


class SaveAtTheDecision(Callback):
    """What a kill between the decision and the end of the run leaves behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path)


def fit(folder: Path, scores: Scores, *callbacks: Callback, patience: int = 2, **options: Any) -> Trainer:
    trainer = quiet_trainer(
        scores,
        RunSummary(folder / "summary.json", monitor="val/iou", facts={}),
        EarlyStop(monitor="val/iou", patience=patience),
        *callbacks,
        max_steps=-1,
        max_epochs=6,
    )
    trainer.fit(DecoderStage(small_model()), loader(small_batch()), loader(small_batch()), **options)
    return trainer


def test_stops_after_that_many_validations_without_a_better_score_and_is_complete(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Scores(0.1, 0.5, 0.5, 0.4, 0.9, 0.9))
    assert trainer.global_step == 4
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["stopped_early"] is True and summary["steps"] == 4
    assert summary["best"]["val/iou"] == torch.tensor(0.5).item()


def test_a_run_that_gets_better_is_not_stopped(tmp_path: Path) -> None:
    trainer = fit(tmp_path, Scores(0.1, 0.2, 0.15, 0.3, 0.25, 0.4))
    assert trainer.global_step == 6
    assert json.loads((tmp_path / "summary.json").read_text())["stopped_early"] is False


def test_a_score_that_is_not_a_number_is_no_better_one(tmp_path: Path) -> None:
    assert fit(tmp_path, Scores(0.1, float("nan"), 0.2, 0.2, 0.1, 0.9)).global_step == 5


def test_run_killed_after_the_decision_ends_at_once_when_resumed(tmp_path: Path) -> None:
    scores = 0.5, 0.4, 0.3, 0.9, 0.9, 0.9
    fit(tmp_path, Scores(*scores), SaveAtTheDecision(tmp_path / "last.ckpt"))
    (tmp_path / "summary.json").unlink()
    resumed = {"ckpt_path": str(tmp_path / "last.ckpt"), "weights_only": True}
    assert fit(tmp_path, Scores(*scores), **resumed).global_step == 3
    assert json.loads((tmp_path / "summary.json").read_text())["stopped_early"] is True
