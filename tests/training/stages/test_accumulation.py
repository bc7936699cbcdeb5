"""Accumulated gradients of small batches are those of the large one."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.core.types import Batch
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.stages.decoder_stage import DecoderStage
from pisam.training.stages.interactor_stage import InteractorStage


class Gradients(Callback):
    """Keeps the gradients of each optimiser step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        kept = {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}
        self.steps.append(kept)


class NotAllClicked(ClickSimulation):
    """The first of four samples has no click, so that the halves have not the same number of clicked ones."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        assert batch.clicks is not None
        batch.clicks.valid[[seed % 100 == 0 for seed in batch.seeds]] = False


def half(batch: Batch, part: slice) -> Batch:
    """Some samples of a batch."""
    kept: dict[str, Any] = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return replace(batch, **{name: value[part] for name, value in kept.items() if value is not None})


def gradients(number: int, accumulate: int) -> list[dict[str, Tensor]]:
    """Two steps of four images each."""
    whole = [small_batch(4, seed=seed) for seed in (0, 1)]
    size = 4 // accumulate
    batches = [half(b, slice(start, start + size)) for b in whole for start in range(0, 4, size)]
    kept = Gradients()
    stage = (DecoderStage, InteractorStage)[number - 1](small_model(), lr=0.0001)
    if number == 2:
        torch.nn.init.normal_(stage.model.interactor.residual.weight, std=0.1)
    clicks = [NotAllClicked(min_area=1)] if number == 2 else []
    trainer = quiet_trainer(kept, *clicks, max_steps=2, accumulate_grad_batches=accumulate)
    trainer.fit(stage, loader(*batches))
    return kept.steps


@pytest.mark.parametrize("number", [1, 2])
def test_halves_equal_the_whole_however_many_samples_of_each_were_clicked(number: int) -> None:
    torch.manual_seed(0)
    whole = gradients(number, accumulate=1)
    torch.manual_seed(0)
    halves = gradients(number, accumulate=2)
    assert len(whole) == len(halves) == 2
    for left, right in zip(whole, halves, strict=True):
        one, other = (torch.cat([g.flatten() for g in step.values()]) for step in (left, right))
        assert one.norm() > 0.001
        # At the kink of a ReLU the rounding of another batch size counts; a wrong weight would be a third.
        assert (one - other).norm() < 0.005 * one.norm()
