from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam
from torch import nn

from helpers.exported import small_model
from helpers.model_inputs import random_clicks, random_images, randomise
from pisam.core.errors import PisamError
from pisam.core.types import Clicks
from pisam.modeling.backbones import build_sam_parts
from pisam.modeling.pisam import PiSam, build_model

SIZE = 64
BOX = torch.tensor([[5.0, 8, 50, 60], [0, 0, 20, 64]])


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture
def model() -> PiSam:
    return small_model(SIZE)


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


@pytest.mark.parametrize("departure", ["from_sam", "local", "reprompt", "guard"])
@pytest.mark.parametrize("value", [1, "no", None, np.True_])
def test_a_departure_that_no_checkpoint_could_tell_is_refused(departure: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{departure}: expected True or False, got"):
        build_model("nano", image_size=64, **{departure: value})
