"""The guard stops a training of the wrong thing, and lets the right one pass."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.core.errors import PisamError
from pisam.core.types import Batch
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.guards import TrainabilityGuard
from pisam.training.stages.decoder_stage import DecoderStage
from pisam.training.stages.interactor_stage import InteractorStage
from pisam.training.stages.stage import Stage


def fit(stage: Stage, steps: int, *callbacks: Callback) -> None:
    trainer = quiet_trainer(*callbacks, TrainabilityGuard(), max_steps=steps)
    trainer.fit(stage, loader(*(small_batch(seed=seed) for seed in range(steps))))


class GradientForSam(Callback):
    """Spoils the training after the first backward pass, before the guard looks."""

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        frozen = dict(pl_module.named_parameters())["model.decoder.sam_decoder.iou_token.weight"]
        frozen.grad = torch.zeros_like(frozen)


def test_gradient_of_a_frozen_parameter_stops_the_run() -> None:
    message = "model.decoder.sam_decoder.iou_token.weight is frozen but has a gradient"
    with pytest.raises(PisamError, match=message):
        fit(DecoderStage(small_model()), 1, GradientForSam())


def test_trained_parameter_outside_the_graph_stops_the_run() -> None:
    stage = DecoderStage(small_model())
    stage.unused = torch.nn.Linear(1, 1)
    with pytest.raises(PisamError, match=r"parameter unused\.\w+ is trained but has no gradient"):
        fit(stage, 1)


def test_parameter_that_the_optimiser_forgot_stops_the_run_after_three_steps() -> None:
    class Forgetful(DecoderStage):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            forgotten = self.model.decoder.head.parameters()
            kept = {id(p) for p in forgotten}
            return torch.optim.Adam([p for p in self.parameters() if p.requires_grad and id(p) not in kept])

    fit(Forgetful(small_model()), 3)  # the third step is still under way when nothing can be told yet
    with pytest.raises(PisamError, match=r"did not change in three steps: model\.decoder\.head"):
        fit(Forgetful(small_model()), 4)


class ChangesSam(Callback):
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        buffers = dict(pl_module.named_buffers())
        name = next(name for name in buffers if name.startswith("model.encoder."))
        buffers[name].add_(1)


def test_a_frozen_buffer_that_drifted_fails_the_run() -> None:
    with pytest.raises(PisamError, match="frozen SAM changed"):
        fit(DecoderStage(small_model()), 1, ChangesSam())


class OnlyEveryOtherBatch(ClickSimulation):
    """No click on even batches, as where the mask was perfect."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        assert batch.clicks is not None
        if batch_idx % 2 == 0:
            batch.clicks.valid[:] = False


def test_batches_without_clicks_are_no_false_alarm() -> None:
    stage = InteractorStage(small_model(), lr=1e-2)
    fit(stage, 8, OnlyEveryOtherBatch(min_area=2))
    assert stage.model.interactor.residual.weight.any()
