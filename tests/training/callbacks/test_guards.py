"""Losses that are not finite, and trainings that train nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.optim import Optimizer

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.core.errors import PisamError
from pisam.core.types import Batch
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.guards import FiniteLoss, TrainabilityGuard
from pisam.training.stages.decoder_stage import DecoderStage
from pisam.training.stages.interactor_stage import InteractorStage
from pisam.training.stages.stage import Stage


class NanAt(DecoderStage):
    """Stage 1 whose loss is not a number in some batches."""

    def __init__(self, *batches: int) -> None:
        super().__init__(small_model(), lr=0.01)
        self.batches = batches

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if batch_idx in self.batches else loss


class InfiniteGradientAt(Callback):
    """A finite loss with a gradient that is not."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fit_loop.batch_idx == self.batch:
            next(p for p in pl_module.parameters() if p.grad is not None).grad[:] = float("inf")


class Recorder(Callback):
    """Weights, first moments, learning rates and `train/skipped_steps` after every batch."""

    def __init__(self) -> None:
        self.states: list[list[Tensor]] = []
        self.rates: list[float] = []
        self.skipped: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        optimizer: Optimizer = trainer.optimizers[0]
        moments = [state["exp_avg"] for state in optimizer.state.values()]
        own = pl_module.model.own_state().values()
        self.states.append([value.detach().clone() for value in (*own, *moments)])
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.skipped.append(float(trainer.callback_metrics["train/skipped_steps"]))


def fit(stage: DecoderStage, batches: int, *callbacks: Callback, **options: Any) -> tuple[Recorder, Trainer]:
    recorder = Recorder()
    steps = batches // options.get("accumulate_grad_batches", 1)
    trainer = quiet_trainer(*callbacks, recorder, max_steps=steps, **options)
    trainer.fit(stage, loader(*(small_batch(seed=seed) for seed in range(batches))))
    return recorder, trainer


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(x.equal(y) for x, y in zip(a, b, strict=True))


def test_step_with_nan_changes_nothing_but_the_schedule() -> None:
    recorder, trainer = fit(NanAt(1), 4, FiniteLoss())
    zero, one, two, three = recorder.states
    assert equal(zero, one) and not equal(one, two) and not equal(two, three)
    assert all(value.isfinite().all() for value in three)
    assert recorder.skipped == [0, 1, 1, 1]
    assert trainer.global_step == 4
    assert recorder.rates == sorted(recorder.rates, reverse=True) and len(set(recorder.rates)) == 4


def test_gradient_that_is_not_finite_counts_too() -> None:
    recorder, _ = fit(NanAt(), 3, InfiniteGradientAt(1), FiniteLoss())
    assert recorder.skipped == [0, 1, 1]
    assert equal(*recorder.states[:2]) and not equal(*recorder.states[1:])


def test_one_bad_batch_of_an_accumulated_step_leaves_out_the_whole_step() -> None:
    recorder, _ = fit(NanAt(2), 6, FiniteLoss(), accumulate_grad_batches=2)
    assert recorder.skipped == [0, 0, 0, 1, 1, 1]
    assert equal(recorder.states[1], recorder.states[3]) and not equal(*recorder.states[3::2])


def scaled(scale: float) -> MixedPrecision:
    """16-mixed with a first scale."""
    return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale))


def test_step_that_a_loss_scaler_leaves_out_is_counted_and_no_error() -> None:
    guard = FiniteLoss(most_in_a_row=1)
    recorder, _ = fit(NanAt(), 3, InfiniteGradientAt(1), guard, precision=None, plugins=scaled(1.0))
    assert recorder.skipped == [0, 1, 1]
    assert equal(*recorder.states[:2]) and not equal(*recorder.states[1:])


def test_many_overflows_in_a_row_end_the_run() -> None:
    """Scaled by 2^120 all gradients overflow: the scaler halves its scale, step for step."""
    with pytest.raises(PisamError, match="step 2: the gradients of 3 steps in a row are not finite"):
        fit(NanAt(), 5, FiniteLoss(most_overflows=3), precision=None, plugins=scaled(2.0**120))


def test_run_whose_steps_were_all_left_out_is_no_success() -> None:
    with pytest.raises(PisamError, match="all 2 steps had gradients that are not finite"):
        fit(NanAt(), 2, FiniteLoss(), precision=None, plugins=scaled(2.0**120))


def test_nan_is_counted_under_a_loss_scaler() -> None:
    half = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=1.0))
    recorder, _ = fit(NanAt(1), 3, FiniteLoss(), precision=None, plugins=half)
    assert recorder.skipped == [0, 1, 1]
    assert all(value.isfinite().all() for value in recorder.states[-1])


def test_a_few_in_a_row_end_the_run_and_name_the_samples() -> None:
    stage = NanAt(1, 3, 4)
    before = Recorder()
    with pytest.raises(
        PisamError, match=r"step 4: the loss is not finite \(rank 0: val/0, val/1\).* 2 steps"
    ):
        fit(stage, 8, FiniteLoss(most_in_a_row=2), before)
    assert all(value.isfinite().all() for value in stage.model.own_state().values())
    own = list(stage.model.own_state().values())
    assert equal(own, before.states[2][: len(own)])


def test_counts_survive_a_resume() -> None:
    first, second = FiniteLoss(), FiniteLoss(most_in_a_row=3)
    fit(NanAt(1, 2), 3, first)
    second.load_state_dict(first.state_dict())
    with pytest.raises(PisamError, match="3 steps in a row"):
        fit(NanAt(0), 1, second)


def train(stage: Stage, steps: int, *callbacks: Callback) -> None:
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
        train(DecoderStage(small_model()), 1, GradientForSam())


def test_trained_parameter_outside_the_graph_stops_the_run() -> None:
    stage = DecoderStage(small_model())
    stage.unused = torch.nn.Linear(1, 1)
    with pytest.raises(PisamError, match=r"parameter unused\.\w+ is trained but has no gradient"):
        train(stage, 1)


def test_parameter_that_the_optimiser_forgot_stops_the_run_after_three_steps() -> None:
    class Forgetful(DecoderStage):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            forgotten = self.model.decoder.head.parameters()
            kept = {id(p) for p in forgotten}
            return torch.optim.Adam([p for p in self.parameters() if p.requires_grad and id(p) not in kept])

    train(Forgetful(small_model()), 3)  # the third step is still under way when nothing can be told yet
    with pytest.raises(PisamError, match=r"did not change in three steps: model\.decoder\.head"):
        train(Forgetful(small_model()), 4)


class ChangesSam(Callback):
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        buffers = dict(pl_module.named_buffers())
        name = next(name for name in buffers if name.startswith("model.encoder."))
        buffers[name].add_(1)


def test_a_frozen_buffer_that_drifted_fails_the_run() -> None:
    with pytest.raises(PisamError, match="frozen SAM changed"):
        train(DecoderStage(small_model()), 1, ChangesSam())


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
    train(stage, 8, OnlyEveryOtherBatch(min_area=2))
    assert stage.model.interactor.residual.weight.any()
