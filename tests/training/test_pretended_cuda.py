"""The program on a card that is pretended: one device, few waits, no tensor of the host to other ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import SingleDeviceStrategy as FabricDevice
from lightning.pytorch import Callback, Trainer

from helpers.pretended_cuda import CUDA, Card, FabricCuda, OnCard, Ranks, pretended_cuda
from helpers.small_runs import small_config, summary, write_sets
from pisam.commands.evaluate import EvaluateOptions, evaluate
from pisam.commands.interact import interact
from pisam.commands.train import train
from pisam.modeling.checkpoint import load_model
from pisam.predictor import PiSamPredictor
from pisam.training import trainer as trainers
from pisam.training.callbacks import guards

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="`make gpu` asks the card itself")
MOST_WAITS = 4


class PerStep(Callback):
    """The waits and exchanges of each optimiser step: from the end of the one before, clicks included."""

    def __init__(self) -> None:
        self.waits: list[list[str]] = []
        self.exchanges: list[list[str]] = []

    def on_train_batch_end(self, *_: Any) -> None:
        card = Card.now
        self.waits.append(card.waits[:])
        self.exchanges.append(card.collectives[:])
        card.waits.clear()
        card.collectives.clear()


@pytest.mark.parametrize(
    "precision",
    ["32-true", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bf16-mixed", "16-mixed"))],
)
def test_both_stages_on_four_ranks(precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = PerStep()

    def build(**options: Any) -> Trainer:
        for name in ("accelerator", "devices", "num_nodes"):
            options.pop(name)
        options["callbacks"].append(steps)
        return Trainer(**{**options, "strategy": Ranks()})

    monkeypatch.setattr(trainers, "Trainer", build)
    monkeypatch.setattr(guards, "SECONDS_TO_CLOSE_LOGS", 10**6)  # a failure ends this test alone
    sets = write_sets(tmp_path / "sets", {"a": 2, "b": 6, "val": 4})
    keys = ["trainer.accelerator=gpu", f"trainer.precision={precision}", "trainer.dry_run=false"]
    # Two steps an epoch: the last one follows another, no validation.
    keys += ["data.batch_size=1", "stage1.max_steps=6", "stage2.max_steps=6"]
    keys += ["data.val=[{name: val, images: val/images, masks: val/masks}]"]
    config = small_config(tmp_path, sets, *keys)
    for number in (1, 2):
        with pretended_cuda():
            train(config, number)
        assert summary(Path(config.run_dir), number)["steps"] == 6
        waits, exchanges = steps.waits[-1], steps.exchanges[-1]  # what is checked in the first steps is over
        assert len(waits) <= MOST_WAITS, "\n".join(waits)
        assert 1 <= len(exchanges) <= 2 and not any("barrier" in one for one in exchanges), exchanges


@pytest.mark.slow
def test_predictor_evaluation_and_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = write_sets(tmp_path / "sets", {"a": 2, "b": 2, "val": 2})
    keys = ["stage1.max_steps=2", "stage2.max_steps=2", "interact.images=2", "interact.rounds=2"]
    keys += ["data.val=[{name: val, images: val/images, masks: val/masks}]"]
    for number in (1, 2):
        train(small_config(tmp_path, sets, *keys), number)
    config = small_config(tmp_path, sets, *keys, "trainer.accelerator=gpu")
    monkeypatch.setattr(trainers, "Fabric", lambda **_: Fabric(strategy=FabricDevice(CUDA, FabricCuda())))
    with pretended_cuda() as card:
        evaluate(config, EvaluateOptions(models=["pi"], out=tmp_path / "scores"))
        interact(config)
        assert card.waits, "nothing has been on the card"
        model = load_model(Path(config.run_dir) / "stage2" / "checkpoints" / "best.ckpt").to("cuda")
        predictor = PiSamPredictor(model)
        predictor.set_image(np.zeros((80, 100, 3), np.uint8))
        predictor.set_box([10, 10, 60, 60])
        assert predictor.click(30.0, 30.0, True)[30, 30]


def test_mixed_devices_are_refused_and_so_is_a_tensor_of_the_host_in_an_exchange() -> None:
    with pretended_cuda() as card:
        there = torch.ones(2, 3, device="cuda")
        assert isinstance(there, OnCard) and there.device == CUDA
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(2, 3)
        with pytest.raises(RuntimeError, match="device type cpu"):
            torch.distributed.all_gather([], torch.ones(1))
        assert card.waits == []
        weight = torch.nn.Parameter(there)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            product = weight @ torch.ones(3, 2).to("cuda")
        assert product.dtype == torch.bfloat16
        product.sum().backward()
        assert isinstance(weight.grad, OnCard) and weight.grad.tolist() == [[2, 2, 2]] * 2
        there[0, :2] = 5
        assert there.cpu().numpy().tolist() == [[5, 5, 1], [1, 1, 1]]
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(there.numpy())
    assert [line.split()[0] for line in card.waits] == [
        *("aten._to_copy.default",) * 2,  # the pageable factor, and tolist
        "aten._to_copy.default",
    ]
