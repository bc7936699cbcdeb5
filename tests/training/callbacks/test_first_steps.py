"""A start is never silent, and a step that does not fit into memory is said before the first."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.core.errors import PisamError
from pisam.core.types import Batch
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.first_steps import Activations, FirstSteps, MemoryCheck, worst_batch
from pisam.training.stages.decoder_stage import DecoderStage
from pisam.training.stages.interactor_stage import InteractorStage
from pisam.training.stages.stage import Stage

STAGES: list[type[Any]] = [DecoderStage, InteractorStage]


class State(Callback):
    """The state of everything when training begins."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights = {n: v.clone() for n, v in pl_module.state_dict().items()}
        self.gradients = [n for n, p in pl_module.named_parameters() if p.grad is not None]
        self.random = torch.get_rng_state()
        self.modes = [module.training for module in pl_module.modules()]


def run(number: int, *checks: Callback) -> tuple[State, dict[str, Tensor]]:
    torch.manual_seed(1)
    state, stage = State(), STAGES[number - 1](small_model(), lr=0.01)
    clicks = [ClickSimulation(min_area=1)] if number == 2 else []
    trainer = quiet_trainer(*clicks, *checks, state, max_steps=2)
    trainer.fit(stage, loader(small_batch(seed=0), small_batch(seed=1)))
    return state, stage.state_dict()


def check(number: int) -> MemoryCheck:
    return MemoryCheck(batch_size=2, image_size=64, clicks=10 * (number - 1), on_cpu=True)


@pytest.mark.parametrize("number", [1, 2])
def test_nothing_changes(number: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pisam"):
        checked, after = run(number, check(number))
    plain, expected = run(number)
    assert re.search(
        r"memory: with a batch of 2 at 64 px the process has taken \d+\.\d GiB at most; "
        r"activations: 0\.\d\d GiB",
        caplog.text,
    )
    assert checked.gradients == []
    assert checked.modes == plain.modes
    assert checked.random.equal(plain.random)
    assert all(checked.weights[name].equal(value) for name, value in plain.weights.items())
    assert all(after[name].equal(value) for name, value in expected.items()), "also after training"


@pytest.mark.parametrize("number", [1, 2])
def test_a_backward_pass_is_made(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the worst batch: full, and every click in it."""
    seen: list[Batch] = []
    losses, grad = STAGES[number - 1].losses, torch.autograd.grad
    asked: list[int] = []

    def kept_losses(self: Stage, batch: Batch) -> dict[str, Tensor]:
        seen.append(batch)
        return losses(self, batch)

    def kept_grad(loss: Tensor, parameters: list[Tensor], **options: Any) -> Any:
        found = grad(loss, parameters, **options)
        asked.append(sum(gradient is not None for gradient in found))
        return found

    monkeypatch.setattr(STAGES[number - 1], "losses", kept_losses)
    monkeypatch.setattr(torch.autograd, "grad", kept_grad)
    run(number, check(number))
    worst = seen[0]
    assert worst.image.shape == (2, 3, 64, 64) and worst.sets[0] == "worst"
    assert worst.clicks is not None and int(worst.clicks.valid.sum()) == (0 if number == 1 else 20)
    assert asked[0] > 20


def test_without_a_gpu_only_where_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pisam"):
        run(1, MemoryCheck(batch_size=2, image_size=64))
    assert "memory" not in caplog.text


def test_too_large_a_batch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DecoderStage, "losses", too_much)
    with pytest.raises(PisamError, match=r"data\.batch_size: a batch of 2 at 64 px does not fit .*accum"):
        run(1, check(1))


def test_activations_are_what_the_backward_pass_needs_without_the_weights() -> None:
    network = nn.Sequential(nn.Linear(100, 1000), nn.Sigmoid(), nn.Linear(1000, 1, bias=False))
    inputs, kept = torch.zeros(7, 100), Activations(network)
    with saved_tensors_hooks(kept.add, kept.give):
        network(inputs).exp().sum().backward()
    # The input, the sigmoid's result (for itself and for the next layer, once) and that of exp.
    assert kept.bytes == 4 * 7 * (100 + 1000 + 1)


def test_activations_grow_with_the_batch() -> None:
    sizes = []
    for batch_size in (1, 3):
        stage = DecoderStage(small_model())
        size = MemoryCheck(batch_size=batch_size, image_size=64)._step(quiet_trainer(), stage)
        assert size is not None
        sizes.append(size)
    assert 2.5 < sizes[1] / sizes[0] < 3.5


def test_of_a_compiled_network_the_peak_alone_is_told(caplog: pytest.LogCaptureFixture) -> None:
    stage = DecoderStage(small_model())
    decoder = stage.model.decoder
    decoder._compiled_call_impl = decoder._call_impl  # as compiling leaves it, without the minutes
    with caplog.at_level(logging.INFO, "pisam"):
        quiet_trainer(check(1)).fit(stage, loader(small_batch()))
    assert "GiB at most" in caplog.text and "activations" not in caplog.text


def test_worst_batch_has_clicks_in_the_frame_and_an_object() -> None:
    batch = worst_batch(3, 128, 5, "cpu")
    assert batch.mask.sum(dim=(1, 2, 3)).tolist() == [64 * 64] * 3
    assert batch.clicks is not None and batch.clicks.points.shape == (3, 5, 2)
    assert (batch.clicks.points == 64).all()


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
