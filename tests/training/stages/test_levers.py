"""What stages may train on beside boxes and labels: rounds of clicks, proposals, windows, altered regions."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Trainer

from helpers.small_runs import loader, quiet_trainer, small_batch
from pisam.core.types import AGAIN, Batch, Clicks
from pisam.modeling.pisam import PiSam, build_model
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.first_steps import MemoryCheck
from pisam.training.callbacks.guards import TrainabilityGuard
from pisam.training.features.frozen_features import FrozenFeatures
from pisam.training.losses import loss_at_clicks
from pisam.training.stages.decoder_stage import DecoderStage, Encodings
from pisam.training.stages.interactor_stage import InteractorStage
from pisam.training.stages.regions import with_proposals
from pisam.training.stages.rounds import BOX_ALONE, prompts_after_rounds
from pisam.training.stages.windows import cut, draw_windows


@pytest.fixture
def model() -> PiSam:
    torch.manual_seed(0)
    return build_model("nano", image_size=64, from_sam=True, local=True, reprompt=True)


def test_rounds_end_in_prompts_of_box_clicks_and_mask(model: PiSam) -> None:
    batch = small_batch(40)
    prompts = prompts_after_rounds(model, batch, model.encode(batch.image), most=3)
    again = [kind == AGAIN for kind in prompts.kinds]
    assert 0 < sum(again) < 40
    assert abs(sum(again) / 40 - (1 - BOX_ALONE)) < 0.25
    for row, told in enumerate(again):
        valid = prompts.points.valid[row]
        assert bool(valid.any()) == told
        assert bool(prompts.mask[row].any()) == told
        x, y = prompts.points.points[row][valid].long().unbind(dim=1)
        assert torch.equal(batch.mask[row, 0, y, x].long(), prompts.points.labels[row][valid])
    assert len({int(valid.sum()) for valid in prompts.points.valid}) > 2
    alone = prompts_after_rounds(model, batch.one(7), model.encode(batch.image[[7]]), most=3)
    assert alone.kinds[0] == prompts.kinds[7]


def test_the_guard_keeps_what_the_decoder_learns_from() -> None:
    stage = DecoderStage(build_model("nano", image_size=64, from_sam=True, guard=True))
    guard = stage.model.decoder.guard
    assert guard is not None
    check = MemoryCheck(batch_size=2, image_size=64, on_cpu=True)  # tries a step on a grey batch
    quiet_trainer(check, max_steps=2).fit(stage, loader(small_batch(3), small_batch(3, seed=1)))
    assert guard.count == 6
    early = stage.model.encode(small_batch(3).image)[1]
    assert guard(early).all() and not guard(-early).any()


def test_proposals_are_sams_and_sure_of_themselves(model: PiSam) -> None:
    batch = small_batch(8)
    batch.extent[:, 0] = 48
    changed = with_proposals(model, batch, model.encode(batch.image), share=1.0)
    exchanged = (changed.mask != batch.mask).flatten(1).any(dim=1)
    assert exchanged.any() and changed.ignored is not None
    assert not (changed.mask & ~batch.counted()).flatten(1).any(dim=1)[exchanged].any()
    assert changed.ignored[exchanged].any()
    same = with_proposals(model, batch, model.encode(batch.image), share=0.0)
    assert torch.equal(same.mask, batch.mask) and same.ignored is not None and not same.ignored.any()


def test_windows_are_the_same_part_of_every_map() -> None:
    batch = small_batch(4)
    batch.extent[:] = torch.tensor([40.0, 56.0])
    corners = draw_windows(batch.mask, batch.extent, 32, batch.seeds)
    assert ((corners >= 0) & (corners <= 32)).all() and not (corners % 4).any()
    assert (batch.extent - corners >= 1).all(), "some content in each"
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    full = torch.stack([columns, rows]).expand(4, -1, -1, -1)
    parts, quarter = cut(full, corners, 32, 64), cut(full[..., ::4, ::4], corners, 32, 64)
    assert torch.equal(parts[:, :, 0, 0], corners) and parts.shape[-1] == 32
    assert torch.equal(parts[..., ::4, ::4], quarter)


def test_a_whole_window_is_no_window(model: PiSam) -> None:
    batch = small_batch(2)
    whole, part = (DecoderStage(model, window=window).losses(batch)["loss"] for window in (1.0, 0.5))
    assert torch.equal(whole, DecoderStage(model).losses(batch)["loss"])
    assert part != whole


def test_the_loss_at_clicks_is_of_their_pixels_alone() -> None:
    logits = torch.zeros(2, 1, 8, 8)
    logits[0, 0, 3, 5] = 4.0
    clicks = Clicks(
        torch.tensor([[[5.5, 3.5], [1.0, 1.0]]] * 2), torch.ones(2, 2).long(), torch.ones(2, 2) > 0
    )
    inside = torch.tensor([[True, False], [False, False]])
    obeyed, none = loss_at_clicks(logits, clicks, inside)
    assert obeyed.item() == pytest.approx(torch.tensor(4.0).neg().exp().log1p().item())
    assert none == 0


def test_encodings_are_made_once_per_view() -> None:
    calls = 0

    def encode(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal calls
        calls += 1
        value = image.float().mean(dim=(1, 2, 3), keepdim=True)
        return value, 2 * value

    keep, batch = Encodings(), small_batch(3)
    first, early = keep(batch, True, encode)
    again, _ = keep(batch, True, encode)
    assert calls == 3 and torch.equal(first, again) and torch.equal(early, 2 * first)
    keep(batch, False, encode)
    batch.views = [1, 0, 0]
    keep(batch, True, encode)
    assert calls == 7


class Kept(ClickSimulation):
    batches: list[Batch]

    def on_train_batch_start(self, trainer: Trainer, pl_module: object, batch: Batch, batch_idx: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)  # type: ignore[arg-type]
        self.batches = [*getattr(self, "batches", []), batch]


def test_both_stages_train_with_every_lever(model: PiSam) -> None:
    torch.manual_seed(0)
    decoder = DecoderStage(model, cache=True, rounds=2, proposals=0.5, window=0.5)
    quiet_trainer(TrainabilityGuard(), max_steps=3).fit(
        decoder, loader(*(small_batch(seed=s) for s in range(3)))
    )
    stage = InteractorStage(
        model, rounds=2, window=0.5, near_clicks=0.5, near_spreads=(0.01, 0.1), at_clicks=1.0
    )
    clicks = Kept(min_area=2, features=FrozenFeatures(), altered=0.5)
    trainer = quiet_trainer(TrainabilityGuard(), clicks, max_steps=6)
    trainer.fit(stage, loader(*(small_batch(4, seed=seed) for seed in range(6))), loader(small_batch(seed=9)))
    told = [batch.clicks for batch in clicks.batches if batch.clicks is not None]
    assert all(given.valid.any(dim=1).all() for given in told), "each sample has a click"
    altered = [bool((batch.mask != small_batch(4).mask).any()) for batch in clicks.batches]
    assert any(altered)
    for batch, given in zip(clicks.batches, told, strict=True):
        for row in range(len(batch)):
            x, y = given.points[row][given.valid[row]].long().unbind(dim=1)
            assert torch.equal(batch.mask[row, 0, y, x].long(), given.labels[row][given.valid[row]])
