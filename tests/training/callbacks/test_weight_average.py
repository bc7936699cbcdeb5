"""Averaged weights are what is validated and kept; training goes on with its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model
from pisam.training.callbacks.weight_average import WeightAverage
from pisam.training.stages.decoder_stage import DecoderStage

DECAY = 0.6
Weights = dict[str, Tensor]


def trained(module: Any) -> Weights:
    return {n: p.detach().clone() for n, p in module.model.named_parameters() if p.requires_grad}


class Witness(Callback):
    """Writes down the weights after each step and those that validation saw."""

    def __init__(self) -> None:
        self.steps: list[Weights] = []
        self.validated: list[Weights] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.steps.append(trained(pl_module))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.validated.append(trained(pl_module))


def fit(witness: Witness, checkpoint: Path | None = None, **options: Any) -> tuple[Trainer, DecoderStage]:
    """Four batches an epoch, validated after each epoch."""
    stage = DecoderStage(small_model(), lr=0.01)
    trainer = quiet_trainer(WeightAverage(DECAY), witness, **{"max_steps": -1, "max_epochs": 2, **options})
    batches = loader(*(small_batch(seed=seed) for seed in range(4)))
    trainer.fit(
        stage, batches, loader(small_batch()), ckpt_path=checkpoint and str(checkpoint), weights_only=True
    )
    return trainer, stage


def averages(steps: list[Weights]) -> list[Weights]:
    """The definition, step by step."""
    kept = [steps[0]]
    for weights in steps[1:]:
        kept.append({n: DECAY * kept[-1][n] + (1 - DECAY) * weights[n] for n in weights})
    return kept


def assert_close(left: Weights, right: Weights) -> None:
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-5, atol=1e-7)


def test_validation_and_checkpoint_hold_the_average_and_training_goes_on(tmp_path: Path) -> None:
    witness = Witness()
    trainer, stage = fit(witness)
    expected = averages(witness.steps)
    assert len(witness.steps) == 8 and len(witness.validated) == 2
    assert_close(witness.validated[0], expected[3])
    assert_close(witness.validated[1], expected[7])
    assert all(not witness.steps[7][n].equal(expected[7][n]) for n in expected[7] if n.endswith("weight"))
    assert_close(trained(stage), witness.steps[7])

    trainer.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert_close({n: saved[f"model.{n}"] for n in expected[7]}, expected[7])
    assert not [name for name in saved if "sam_decoder" in name or "encoder." in name], (
        "frozen SAM is not kept"
    )


def test_a_plain_run_takes_the_same_steps() -> None:
    averaged, plain = Witness(), Witness()
    fit(averaged)
    stage = DecoderStage(small_model(), lr=0.01)
    trainer = quiet_trainer(plain, max_steps=-1, max_epochs=2)
    trainer.fit(stage, loader(*(small_batch(seed=seed) for seed in range(4))), loader(small_batch()))
    for left, right in zip(averaged.steps, plain.steps, strict=True):
        assert all(left[name].equal(right[name]) for name in left)


def test_resumed_run_is_bit_equal(tmp_path: Path) -> None:
    whole, part, rest = Witness(), Witness(), Witness()
    _, expected = fit(whole)

    class Stop(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            trainer.save_checkpoint(tmp_path / "half.ckpt")
            trainer.should_stop = True

    stage = DecoderStage(small_model(), lr=0.01)
    trainer = quiet_trainer(WeightAverage(DECAY), part, Stop(), max_steps=-1, max_epochs=2)
    trainer.fit(stage, loader(*(small_batch(seed=seed) for seed in range(4))), loader(small_batch()))
    assert len(part.steps) == 4
    _, resumed = fit(rest, tmp_path / "half.ckpt")
    assert all(rest.steps[-1][name].equal(value) for name, value in whole.steps[-1].items())
    assert all(rest.validated[-1][name].equal(value) for name, value in whole.validated[-1].items())
    assert all(resumed.averaged[name].equal(value) for name, value in expected.averaged.items())


def test_accumulated_batches_count_as_one_step() -> None:
    witness = Witness()
    fit(witness, accumulate_grad_batches=2, max_epochs=1)
    assert_close(witness.validated[0], averages([witness.steps[1], witness.steps[3]])[-1])
