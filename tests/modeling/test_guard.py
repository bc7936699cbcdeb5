"""The decoder is believed on pictures like those of training, and where SAM sees the same object."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.model_inputs import randomise
from helpers.small_runs import small_batch
from pisam.modeling.checkpoint import load_model
from pisam.modeling.guard import CAPACITY, Guard, guarded
from pisam.modeling.pisam import PiSam, build_model
from pisam.modeling.sam_segmenters import SamSegmenter
from pisam.modeling.segmenters import PiSamSegmenter
from pisam.modeling.shared_weights import save_model

DIM, SIDE = 8, 64
WHOLE = torch.ones(1, 2)


def feature(*direction: float) -> Tensor:
    """An early feature (1, DIM, 4, 4) that is the same in each cell."""
    values = torch.zeros(DIM)
    values[: len(direction)] = torch.tensor(direction)
    return values[None, :, None, None].expand(1, DIM, 4, 4).clone()


def mask(*filled: slice) -> Tensor:
    logits = torch.full((1, 1, 10, 10), -1.0)
    logits[(0, 0, *filled)] = 1.0
    return logits


ALL, HALF, MOST = mask(slice(None)), mask(slice(5)), mask(slice(8))


@pytest.fixture
def guard() -> Guard:
    guard = Guard(DIM)
    for turned in range(20):
        guard.remember(feature(1.0, turned / 100), WHOLE)
    return guard


def test_a_picture_like_those_of_training_is_familiar(guard: Guard) -> None:
    pictures = torch.cat([feature(0.0, 0.0, 1.0), feature(2.0, 0.21)])
    assert guard(pictures).tolist() == [0.0, 1.0]


def test_without_any_training_picture_all_are_familiar() -> None:
    assert Guard(DIM)(feature(0.0, 1.0)).tolist() == [1.0]


def test_on_other_pictures_an_answer_counts_that_is_of_the_same_object() -> None:
    nothing = mask(slice(0))
    answers, before = torch.cat([HALF, HALF, MOST, nothing]), torch.cat([ALL, ALL, ALL, nothing])
    familiar = torch.tensor([0.0, 1.0, 0.0, 0.0])
    assert torch.equal(guarded(answers, before, familiar), torch.cat([ALL, HALF, MOST, nothing]))
    assert torch.equal(guarded(answers, before, None), answers)


def test_padding_of_a_view_does_not_count(guard: Guard) -> None:
    view = feature(1.0, 0.1)
    view[:, :, 2:], view[:, :, :, 3:] = 100.0, -100.0
    guard.remember(view, torch.tensor([[0.75, 0.5]]))
    assert torch.equal(guard.known[20], guard.known[10]), "as of the whole view that is like its content"


def test_it_keeps_no_more_than_it_has_room_for(guard: Guard) -> None:
    full = Guard(DIM)
    for _ in range(3):
        full.remember(torch.randn(CAPACITY // 2 + 3, DIM, 4, 4), WHOLE.expand(CAPACITY // 2 + 3, 2))
    assert full.count == CAPACITY and full.known.norm(dim=1).min() > 0.99
    kept = full.known.clone()
    full.remember(feature(1.0), WHOLE)
    assert torch.equal(full.known, kept)


@pytest.fixture
def model() -> PiSam:
    """A guarded network that has learned something else than SAM knows, from pictures of another kind."""
    torch.manual_seed(0)
    model = build_model("nano", image_size=SIDE, from_sam=True, local=True, reprompt=True, guard=True).eval()
    randomise(model.interactor, scale=0.2)
    for part in (model.decoder.token_mlp, model.decoder.head.output):
        randomise(part, scale=0.5)
    return model


def strangers(model: PiSam) -> None:
    """Let all pictures be unlike those of training."""
    assert model.decoder.guard is not None
    model.decoder.guard.least.fill_(2.0)


@torch.no_grad()
def test_on_another_picture_sams_mask_stands(model: PiSam) -> None:
    batch = small_batch(2, SIDE)
    free = PiSamSegmenter(model).first(batch.image, batch.box)
    strangers(model)
    kept = PiSamSegmenter(model).first(batch.image, batch.box)
    sam = SamSegmenter(model).first(batch.image, batch.box)
    assert kept.objects is not None and kept.objects.familiar is not None
    assert kept.objects.familiar.tolist() == [0.0, 0.0]
    # The output token is among SAM's own in its transformer, so the last digits differ.
    near, far = ((each.logits - sam.logits).abs().mean() for each in (kept, free))
    assert near < 0.2 * far
    assert not torch.equal(free.low_res > 0, kept.low_res > 0)
    enlarged = F.interpolate(kept.low_res, (SIDE, SIDE), mode="bilinear", align_corners=False)
    assert torch.equal(kept.logits, enlarged), "nor does the head add anything"


@torch.no_grad()
def test_training_is_not_guarded(model: PiSam) -> None:
    batch = small_batch(2, SIDE)
    free = model.straight_forward(batch.image, batch.box)[1]
    strangers(model)
    model.train()
    objects, prediction = model.straight_forward(batch.image, batch.box)
    assert objects.familiar is None and torch.equal(prediction.high_res, free.high_res)


def test_it_goes_with_the_weights(model: PiSam, tmp_path: Path) -> None:
    guard = model.decoder.guard
    assert guard is not None
    guard.remember(torch.randn(5, guard.known.shape[1], 4, 4), WHOLE.expand(5, 2))
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.identity()["guard"] and loaded.decoder.guard is not None
    for name, value in guard.state_dict().items():
        assert torch.equal(loaded.decoder.guard.state_dict()[name], value)


def test_it_needs_sams_own_mask() -> None:
    with pytest.raises(ValueError, match="guard needs from_sam"):
        build_model("nano", image_size=SIDE, guard=True)
