"""Both stages: what they train, what their losses are, and what their checkpoints hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from helpers.small_runs import loader, quiet_trainer, small_batch, small_model, write_sets
from pisam.core.errors import PisamError
from pisam.core.types import Batch, Clicks
from pisam.data.datamodule import PairDataModule
from pisam.modeling.checkpoint import load_model
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.guards import TrainabilityGuard
from pisam.training.callbacks.scores import InteractionIoU
from pisam.training.losses import mask_loss
from pisam.training.stages.decoder_stage import DecoderStage, HqStage
from pisam.training.stages.interactor_stage import InteractorStage
from pisam.training.stages.stage import Stage, adam_with_cosine

SAM = ("encoder.", "decoder.sam_decoder.")


class Recorder(ClickSimulation):
    """Click simulation that also keeps each step's loss and batch."""

    def __init__(self) -> None:
        super().__init__(min_area=2)
        self.losses: list[Tensor] = []
        self.batches: list[Batch] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if isinstance(pl_module, InteractorStage):
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self.batches.append(batch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(outputs, dict)
        self.losses.append(outputs["loss"])


def fitted(stage: Stage, steps: int, **options: object) -> tuple[Trainer, Recorder]:
    recorder = Recorder()
    trainer = quiet_trainer(TrainabilityGuard(), recorder, max_steps=steps, **options)
    trainer.fit(stage, loader(*(small_batch(seed=seed) for seed in range(steps))))
    return trainer, recorder


def test_stage_1_trains_the_decoder_around_frozen_sam() -> None:
    stage = DecoderStage(small_model())
    trained = {name for name, p in stage.model.named_parameters() if p.requires_grad}
    expected = {
        name
        for name, _ in stage.model.named_parameters()
        if name.startswith("decoder.") and not name.startswith(SAM)
    }
    assert trained == expected and len(trained) > 40


def test_stage_2_trains_the_interactor_alone_also_after_stage_1() -> None:
    model = small_model()
    DecoderStage(model)
    InteractorStage(model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if name.startswith("interactor.")}
    assert trained


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", [DecoderStage, InteractorStage])
def test_training_moves_the_trained_part_and_nothing_else(kind: type[Stage], precision: str) -> None:
    """Real steps under the guard; the loss stays in 32 bits under mixed precision."""
    stage = kind(small_model(), lr=1e-2)
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    frozen = stage.model.frozen_hash()
    _, recorder = fitted(stage, 5, precision=precision)
    assert stage.model.frozen_hash() == frozen
    part = "decoder." if kind is DecoderStage else "interactor."
    changed = {name for name, value in stage.model.state_dict().items() if not value.equal(before[name])}
    trained = {name for name, p in stage.model.named_parameters() if p.requires_grad}
    unseen = {name for name in trained if name.endswith("k_proj.bias")}
    assert trained - unseen <= changed <= trained
    assert all(name.startswith(part) for name in changed)
    assert [loss.dtype for loss in recorder.losses] == [torch.float32] * 5


def test_sam_stays_in_evaluation_mode_during_training() -> None:
    stage = DecoderStage(small_model())
    stage.train()
    assert not any(module.training for module in stage.model.encoder.modules())
    assert not any(module.training for module in stage.model.decoder.sam_decoder.modules())
    assert stage.model.decoder.head.training


def test_stage_1_loss_is_the_weighted_sum_over_both_resolutions() -> None:
    stage = DecoderStage(small_model(), low_res=0.5, high_res=2.0, bce=3.0, dice=0.25)
    batch = small_batch()
    _, prediction = stage.model.straight_forward(batch.image, batch.box)
    expected = torch.zeros(())
    for weight, logits, purpose in (
        (0.5, prediction.low_res, "low_res"),
        (2.0, prediction.high_res, "high_res"),
    ):
        loss = mask_loss(logits, batch.mask, batch.extent, batch.seeds, purpose=purpose)
        expected = expected + weight * (3.0 * loss.bce + 0.25 * loss.dice).mean()
    _, recorder = fitted(stage, 1)
    torch.testing.assert_close(recorder.losses[0], expected.detach())


@pytest.mark.parametrize("near", [0.0, 0.5])
def test_stage_2_loss_is_the_mean_over_the_clicked_samples(near: float) -> None:
    stage = InteractorStage(small_model(), near_clicks=near)
    batch = small_batch(count=3)
    batch.objects, batch.straight_forward = stage.straight_forward(batch.image, batch.box)
    batch.clicks = Clicks(
        points=torch.full((3, 1, 2), 20.5),
        labels=torch.ones(3, 1, dtype=torch.int64),
        valid=torch.tensor([[True], [False], [True]]),
    )
    where = (batch.mask, batch.extent, batch.seeds)
    terms = mask_loss(
        stage.repaired(batch), *where, purpose="high_res", clicks=batch.clicks, near_clicks=near
    )
    own = (terms.bce + terms.dice)[[0, 2]].mean()
    trainer = quiet_trainer(prepared := Prepared(batch))
    trainer.fit(stage, loader(batch))
    torch.testing.assert_close(prepared.loss, own.detach())


class Prepared(Recorder):
    """Leaves the batch as it was prepared."""

    fills_clicks = True

    def __init__(self, batch: Batch) -> None:
        super().__init__()
        self.prepared = batch

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        batch.objects, batch.clicks = self.prepared.objects, self.prepared.clicks

    @property
    def loss(self) -> Tensor:
        return self.losses[0]


def test_batch_without_any_click_gives_a_zero_loss_with_gradients() -> None:
    stage = InteractorStage(small_model())
    batch = small_batch()
    batch.objects, _ = stage.straight_forward(batch.image, batch.box)
    batch.clicks = Clicks.none(2)
    trainer = quiet_trainer(prepared := Prepared(batch), TrainabilityGuard())
    trainer.fit(stage, loader(batch))
    assert prepared.loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in stage.parameters() if p.requires_grad)


def test_stage_2_without_click_simulation_says_so_at_the_start() -> None:
    trainer = quiet_trainer()
    with pytest.raises(PisamError, match="stage 2 learns from clicks: give the trainer the ClickSimulation"):
        trainer.fit(InteractorStage(small_model()), loader(small_batch()))
    assert trainer.global_step == 0 and not trainer.optimizers
    with pytest.raises(ValueError, match="needs the ClickSimulation callback"):
        InteractorStage(small_model()).repaired(small_batch())


def test_gradient_of_stage_1_flows_through_frozen_sam_to_the_output_token() -> None:
    stage = DecoderStage(small_model())
    batch = small_batch()
    token = next(p for name, p in stage.model.decoder.named_parameters() if "output_token" in name)

    def mean() -> Tensor:
        return stage.model.straight_forward(batch.image, batch.box)[1].low_res.mean()

    mean().backward()
    assert token.grad is not None
    # Half of it is lost without a word where one of SAM's two outputs is cut off.
    step = 0.01 * token.grad / token.grad.norm()
    with torch.no_grad():
        token += step
        above = mean()
        token -= 2 * step
        slope = (above - mean()) / 0.02
    assert slope == pytest.approx(float(token.grad.norm()), rel=0.02)


def test_learning_rate_falls_to_zero_as_a_cosine() -> None:
    parameter, frozen = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1), False)
    parts = adam_with_cosine([parameter, frozen], lr=0.5, steps=4)
    optimizer, schedule = parts["optimizer"], parts["lr_scheduler"]["scheduler"]
    assert parts["lr_scheduler"]["interval"] == "step"
    assert [group["params"] for group in optimizer.param_groups] == [[parameter]]
    assert optimizer.defaults["weight_decay"] == 0
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.5, 0.25 * (1 + 2**-0.5) * 1.0, 0.25, 0.25 * (1 - 2**-0.5), 0.0])


@pytest.mark.parametrize("kind", [DecoderStage, InteractorStage])
def test_checkpoint_holds_the_own_part_alone_and_rebuilds_the_model(
    kind: type[Stage], tmp_path: Path
) -> None:
    stage = kind(small_model(), lr=1e-2)
    trainer, _ = fitted(stage, 3)
    path = tmp_path / "stage.ckpt"
    trainer.save_checkpoint(path)

    contents = torch.load(path, weights_only=True)
    names = {name.removeprefix("model.") for name in contents["state_dict"]}
    assert not [name for name in names if name.startswith(SAM)]
    matrix = next(name for name in names if name.endswith("gaussian_matrix"))
    assert matrix.startswith("interactor.")
    assert contents["state_dict"][f"model.{matrix}"].equal(stage.model.state_dict()[matrix])
    assert contents["pisam"] == stage.model.identity()
    moments = {len(state) for state in contents["optimizer_states"][0]["state"].values()}
    assert moments == {3}, "Adam's step and two moments of each trained parameter"

    again = load_model(path)
    batch = small_batch(seed=7)
    clicks = Clicks(
        torch.tensor([[[20.5, 20.5]]] * 2), torch.ones(2, 1, dtype=torch.int64), torch.ones(2, 1).bool()
    )
    with torch.no_grad():
        stage.model.eval()
        ours, theirs = (model(batch.image, batch.box, clicks) for model in (stage.model, again))
    assert ours.low_res.equal(theirs.low_res) and ours.high_res.equal(theirs.high_res)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        *(
            (DecoderStage, {name: value})
            for name in ("lr", "low_res", "high_res", "bce", "dice")
            for value in (-1, math.nan, "a")
        ),
        *((DecoderStage, {name: 2.0}) for name in ("proposals", "window")),
        *((kind, {"rounds": value}) for kind in (DecoderStage, InteractorStage) for value in (-1, 1.5)),
        *((InteractorStage, {name: -1.0}) for name in ("near_clicks", "at_clicks", "high_res")),
        (InteractorStage, {"near_clicks": 2.0}),
        (HqStage, {"low_res": -1.0}),
        (ClickSimulation, {"altered": 2.0}),
        (ClickSimulation, {"max_clicks": 2.5}),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(kind: Any, wrong: dict[str, Any]) -> None:
    parts = () if kind is ClickSimulation else (small_model(),)
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected a .*number"):
        kind(*parts, **wrong)


@pytest.mark.parametrize("model", [None, "nano", torch.nn.Linear(1, 1)])
def test_what_is_no_network_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="model: expected what build_model gives"):
        DecoderStage(model)


def test_a_trainer_of_ones_own_is_told_what_does_not_fit(tmp_path: Path) -> None:
    root = write_sets(tmp_path / "data", {"a": 2, "val": 1})
    rows = [{"name": name, "images": f"{name}/images", "masks": f"{name}/masks"} for name in ("a", "val")]
    data = PairDataModule(root=root, train=rows[:1], val=rows[1:], image_size=64, workers=0)
    trainer = quiet_trainer(InteractionIoU(["val"]))
    with pytest.raises(PisamError, match="InteractionIoU: no mask before clicks"):
        trainer.validate(DecoderStage(small_model()), data)
    data.image_size = 128
    for kind in (DecoderStage, InteractorStage):
        with pytest.raises(PisamError, match="image_size: the data are 128 px, the model is for 64"):
            quiet_trainer(ClickSimulation()).fit(kind(small_model()), data)
