"""HQ-SAM is trained by the loss of its own mask, and nothing but its own parts moves."""

from __future__ import annotations

import pytest
import torch

from helpers.small_runs import loader, quiet_trainer, small_batch
from pisam.modeling.hq_sam import HQ_PARTS, HqSam, build_hq_sam
from pisam.training.callbacks.guards import TrainabilityGuard
from pisam.training.losses import mask_loss
from pisam.training.stages.decoder_stage import HqStage


def model() -> HqSam:
    torch.manual_seed(0)
    return build_hq_sam("nano", image_size=64)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_moves_hq_parts_and_nothing_else(precision: str) -> None:
    stage = HqStage(model(), lr=1e-2)
    before = {name: value.clone() for name, value in stage.model.state_dict().items()}
    trainer = quiet_trainer(TrainabilityGuard(), max_steps=4, precision=precision)
    trainer.fit(stage, loader(*(small_batch(seed=seed) for seed in range(4))))
    changed = {name for name, value in stage.model.state_dict().items() if not value.equal(before[name])}
    assert changed == {name for name in before if name.split(".")[1] in HQ_PARTS}


def test_the_loss_is_that_of_the_low_resolution_mask() -> None:
    stage = HqStage(model(), low_res=0.5, bce=3.0, dice=0.25)
    batch = small_batch()
    logits = stage.model(batch.image, batch.box).low_res
    assert logits.shape[-1] == 16
    terms = mask_loss(logits, batch.mask, batch.extent, batch.seeds, purpose="low_res")
    expected = 0.5 * (3.0 * terms.bce + 0.25 * terms.dice).mean()
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(stage, loader(batch))
    torch.testing.assert_close(trainer.callback_metrics["train/loss"], expected.detach())
