from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.exported import small_model
from helpers.model_inputs import random_clicks, random_images
from pisam.core.errors import PisamError
from pisam.modeling.checkpoint import checkpoint_of, load_checkpoint, load_model
from pisam.modeling.pisam import PiSam, build_model

SIZE = 64
BOX = torch.tensor([[5.0, 8, 50, 60], [0, 0, 20, 64]])


@pytest.fixture
def model() -> PiSam:
    return small_model(SIZE)


@torch.no_grad()
def test_checkpoint_brings_back_equal_outputs_without_holding_sam(model: PiSam, tmp_path: Path) -> None:
    torch.save(checkpoint_of(model), tmp_path / "model.ckpt")
    torch.manual_seed(1)  # what is not loaded would come out differently

    loaded = load_model(tmp_path / "model.ckpt")

    assert not loaded.training
    image, clicks = random_images(), random_clicks(2, 3)
    assert torch.equal(loaded(image, BOX, clicks).high_res, model(image, BOX, clicks).high_res)
    saved = torch.load(tmp_path / "model.ckpt", weights_only=True)["state_dict"]
    assert not [name for name in saved if "encoder" in name or "sam_decoder" in name]
    assert "model.interactor.position.positional_encoding_gaussian_matrix" in saved


def other_backbone(contents: dict) -> None:
    contents["pisam"]["backbone"] = "vit_b"


def other_size(contents: dict) -> None:
    contents["pisam"]["image_size"] = 128


def other_hash(contents: dict) -> None:
    contents["pisam"]["frozen_hash"] = "0" * 64


def missing_weight(contents: dict) -> None:
    del contents["state_dict"]["model.interactor.residual.bias"]


def unexpected_weight(contents: dict) -> None:
    contents["state_dict"]["model.interactor.third_block"] = torch.ones(1)


def no_identity(contents: dict) -> None:
    del contents["pisam"]


def broken_identity(contents: dict) -> None:
    del contents["pisam"]["backbone"]


def numbered_weights(contents: dict) -> None:
    contents["state_dict"] = {5: torch.zeros(1)}


def unclear_departure(contents: dict) -> None:
    contents["pisam"]["local"] = torch.zeros(2)


def no_weights(contents: dict) -> None:
    contents["state_dict"] = None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_backbone, "made with backbone vit_b, this model has nano"),
        (other_size, "made with image_size 128, this model has 64"),
        (other_hash, "made with frozen_hash 0000"),
        (missing_weight, r"1 missing \(interactor\.residual\.bias\)"),
        (unexpected_weight, r"1 unexpected \(interactor\.third_block\)"),
        (no_identity, "not written by pisam"),
        (broken_identity, "not written by pisam"),
        (no_weights, "not written by pisam"),
        (numbered_weights, "not written by pisam"),
        (unclear_departure, "not written by pisam"),
    ],
)
def test_a_checkpoint_that_does_not_belong_is_refused(
    model: PiSam, damage: Callable[[dict], None], message: str
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    contents = checkpoint_of(build_model("nano", image_size=SIZE))
    damage(contents)
    with pytest.raises(PisamError, match=message) as error:
        load_checkpoint(model, contents, Path("some.ckpt"))
    assert str(error.value).startswith("checkpoint some.ckpt: ")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_checkpoint_cannot_replace_sam(model: PiSam) -> None:
    frozen, contents = model.frozen_hash(), checkpoint_of(model)
    contents["state_dict"]["model.decoder.sam_decoder.iou_token.weight"] = torch.ones(1, 256)
    load_checkpoint(model, contents, Path("some.ckpt"))
    assert model.frozen_hash() == frozen


def test_a_size_of_numpy_is_saved_as_a_plain_number(tmp_path: Path) -> None:
    model = build_model("nano", image_size=np.int64(64))  # type: ignore[arg-type]
    torch.save(checkpoint_of(model), tmp_path / "model.ckpt")
    assert load_model(tmp_path / "model.ckpt").image_size == 64


@torch.no_grad()
def test_a_model_takes_another_frame_with_the_weights_it_has(model: PiSam, tmp_path: Path) -> None:
    torch.save(checkpoint_of(model), tmp_path / "model.ckpt")
    larger = load_model(tmp_path / "model.ckpt", image_size=2 * SIZE)
    assert larger.image_size == 2 * SIZE and not larger.training
    own, saved = larger.own_state(), model.own_state()
    assert own.keys() == saved.keys() and all(own[name].equal(saved[name]) for name in saved)
    answer = larger(random_images(2 * SIZE), 2 * BOX, random_clicks(2, 3, frame=2 * SIZE))
    fresh = build_model("nano", image_size=2 * SIZE)
    assert larger.frozen_hash() == fresh.frozen_hash()
    assert answer.high_res.shape[-2:] == (2 * SIZE, 2 * SIZE) and answer.high_res.isfinite().all()


def test_another_frame_hides_neither_another_sam_nor_a_wrong_size(model: PiSam, tmp_path: Path) -> None:
    contents = checkpoint_of(model)
    torch.save(contents, tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match="image_size must be a positive multiple of 64"):
        load_model(tmp_path / "model.ckpt", image_size=100)
    other_hash(contents)
    torch.save(contents, tmp_path / "model.ckpt")
    with pytest.raises(PisamError, match="made with frozen_hash 0000"):
        load_model(tmp_path / "model.ckpt", image_size=2 * SIZE)
