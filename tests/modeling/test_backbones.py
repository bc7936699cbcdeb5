from __future__ import annotations

from functools import partial

import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from helpers.model_inputs import normal, randomise
from pisam.modeling.backbones import EarlyFeatureViT, build_sam_parts

FIRST_GLOBAL_BLOCK = {"vit_b": 2, "vit_l": 5, "vit_h": 7}
EARLY_DIM = {"vit_b": 768, "vit_l": 1024, "vit_h": 1280}


@pytest.mark.parametrize("backbone", ["vit_b", "vit_l", "vit_h"])
def test_names_and_shapes_are_segment_anythings(backbone: str) -> None:
    with torch.device("meta"):
        parts = build_sam_parts(backbone, 1024)
        sam = sam_model_registry[backbone]()
    ours = {
        f"{part}.{name}": value.shape
        for part in ("image_encoder", "prompt_encoder", "mask_decoder")
        for name, value in getattr(parts, part).state_dict().items()
    }
    assert ours == {name: value.shape for name, value in sam.state_dict().items()}
    assert parts.early_dim == EARLY_DIM[backbone]
    assert parts.image_encoder.early_index == FIRST_GLOBAL_BLOCK[backbone]


def test_early_feature_is_the_output_of_the_first_global_block() -> None:
    arguments = {
        "img_size": 128,
        "embed_dim": 48,
        "depth": 4,
        "num_heads": 3,
        "out_chans": 32,
        "norm_layer": partial(nn.LayerNorm, eps=1e-6),
        "use_rel_pos": True,
        "window_size": 3,
        "global_attn_indexes": (1, 3),
    }
    ours, sams = EarlyFeatureViT(**arguments), ImageEncoderViT(**arguments)
    sams.load_state_dict(randomise(ours, scale=0.1).state_dict())
    outputs: list[torch.Tensor] = []
    sams.blocks[1].register_forward_hook(lambda *call: outputs.append(call[-1]))
    image = normal(2, 3, 128, 128)

    with torch.no_grad():
        embedding, early = ours(image)
        expected = sams(image)

    torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(early, outputs[0].permute(0, 3, 1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backbone", ["nano", "vit_t"])
@pytest.mark.parametrize("image_size", [64, 192, 320])
@torch.no_grad()
def test_any_multiple_of_64_works(backbone: str, image_size: int) -> None:
    parts, side = build_sam_parts(backbone, image_size), image_size // 16
    embedding, early = parts.image_encoder.eval()(normal(1, 3, image_size, image_size))
    assert embedding.shape == (1, 256, side, side)
    assert early.shape == (1, parts.early_dim, side, side)
    assert parts.prompt_encoder.get_dense_pe().shape == (1, 256, side, side)


def test_nano_is_the_same_each_time_and_draws_nothing_from_the_caller() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build_sam_parts("nano", 64)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second = build_sam_parts("nano", 64)
    for part in ("image_encoder", "prompt_encoder", "mask_decoder"):
        ours, theirs = getattr(first, part).state_dict(), getattr(second, part).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("image_size", [0, -64, 100, 1000, 8256, 64 * 10**7])
def test_other_sizes_are_refused(image_size: int) -> None:
    with pytest.raises(ValueError, match=f"a positive multiple of 64, at most 8192, got {image_size}"):
        build_sam_parts("nano", image_size)


def test_unknown_backbone_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="nano, vit_t, vit_b, vit_l, vit_h, got 'vit_g'"):
        build_sam_parts("vit_g", 64)
