from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from helpers.model_inputs import random_clicks, randomise
from pisam.core.errors import PisamError
from pisam.core.types import Clicks
from pisam.modeling.backbones import build_sam_parts
from pisam.modeling.pisam import PiSam, build_model, checkpoint_of, load_checkpoint, load_model

SIZE = 64
BOX = torch.tensor([[5.0, 8, 50, 60], [0, 0, 20, 64]])


def random_images(size: int = SIZE) -> Tensor:
    return torch.randint(
        0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture
def model() -> PiSam:
    """A nano model whose interactor acts as if trained."""
    torch.manual_seed(0)
    model = build_model("nano", image_size=SIZE)
    randomise(model.interactor, scale=0.2)
    return model.eval()


def test_sizes_are_those_of_the_paper_for_vit_b() -> None:
    with torch.device("meta"):
        model = PiSam(backbone="vit_b", image_size=1024, parts=build_sam_parts("vit_b", 1024))
    sam = parameter_count(model.decoder.sam_decoder)
    assert sam == 4_058_340
    assert parameter_count(model.decoder) - sam == 1_395_903  # trained in stage 1
    assert parameter_count(model.interactor) == 167_104  # trained in stage 2
    assert parameter_count(model.decoder) + parameter_count(model.interactor) == 5_621_347


@pytest.mark.parametrize("part", ["decoder", "interactor"])
def test_train_only_unfreezes_one_part_and_never_sam(model: PiSam, part: str) -> None:
    model.requires_grad_(True)
    model.train_only(part)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(f"{part}.") and not name.startswith("decoder.sam_decoder.")
    }


@pytest.mark.parametrize("backbone", ["nano", "vit_t"])
def test_sam_stays_frozen_and_in_evaluation_mode(backbone: str) -> None:
    """Batch norms in training mode would follow the images."""
    model = PiSam(backbone=backbone, image_size=SIZE, parts=build_sam_parts(backbone, SIZE))
    frozen = model.frozen_hash()

    model.train()
    model(random_images(), BOX).high_res.sum().backward()

    for part in (model.encoder, model.decoder.sam_decoder):
        assert not any(module.training for module in part.modules())
        assert not any(p.requires_grad or p.grad is not None for p in part.parameters())
    assert model.decoder.head.training and model.interactor.training
    assert model.frozen_hash() == frozen
    assert model.eval().frozen_hash() == frozen


def test_frozen_hash_sees_parameters_and_buffers_of_sam_alone(model: PiSam) -> None:
    before = model.frozen_hash()
    randomise(model.interactor, seed=1)
    assert model.frozen_hash() == before
    with torch.no_grad():
        model.encoder.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix[0, 0] += 1e-3
    with_buffer = model.frozen_hash()
    assert with_buffer != before
    with torch.no_grad():
        model.decoder.sam_decoder.iou_token.weight[0, 0] += 1e-3
    assert model.frozen_hash() not in (before, with_buffer)


def test_images_are_normalised_as_sam_does(model: PiSam) -> None:
    parts = build_sam_parts("nano", SIZE)
    sam = Sam(parts.image_encoder, parts.prompt_encoder, parts.mask_decoder)
    sam.image_encoder.img_size = SIZE
    image = random_images()
    assert torch.equal(model.normalise(image), sam.preprocess(image.float()))


@torch.no_grad()
def test_clicks_change_the_high_resolution_mask_only(model: PiSam) -> None:
    image, clicks = random_images(), random_clicks(2, 3)
    clicks.valid[1] = False

    plain, clicked = model(image, BOX), model(image, BOX, clicks)

    assert torch.equal(clicked.low_res, plain.low_res)
    assert not torch.equal(clicked.high_res[0], plain.high_res[0])
    assert torch.equal(clicked.high_res[1], plain.high_res[1])
    assert torch.equal(model(image, BOX, Clicks.none(2)).high_res, plain.high_res)


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


def test_sam_weights_are_asked_for_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PISAM_WEIGHTS", raising=False)
    with pytest.raises(PisamError, match=r"vit_h: none given; set model\.weights or PISAM_WEIGHTS"):
        build_model("vit_h")
    monkeypatch.setenv("PISAM_WEIGHTS", str(tmp_path))
    with pytest.raises(PisamError, match=rf"vit_h: expected one sam_vit_h\*\.pth in {tmp_path}, found none"):
        build_model("vit_h")


def test_unknown_backbone_is_refused_before_weights_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"backbone must be one of .*, got 'vit_g'"):
        build_model("vit_g")


def test_a_size_of_numpy_is_saved_as_a_plain_number(tmp_path: Path) -> None:
    model = build_model("nano", image_size=np.int64(64))  # type: ignore[arg-type]
    torch.save(checkpoint_of(model), tmp_path / "model.ckpt")
    assert load_model(tmp_path / "model.ckpt").image_size == 64


@pytest.mark.parametrize("departure", ["from_sam", "local", "reprompt", "guard"])
@pytest.mark.parametrize("value", [1, "no", None, np.True_])
def test_a_departure_that_no_checkpoint_could_tell_is_refused(departure: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{departure}: expected True or False, got"):
        build_model("nano", image_size=64, **{departure: value})
