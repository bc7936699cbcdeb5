"""Our encoder with SAM's decoder against segment-anything's own Sam."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from model_inputs import normal, randomise
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, Sam
from torch import Tensor, nn

from pisam.modeling.backbones import EarlyFeatureViT, build_mask_decoder, build_prompt_encoder
from pisam.modeling.pisam import build_model
from pisam.modeling.sam_encoder import SamEncoder
from pisam.types import SamFeatures


def low_res_logits_of_sam(sam: Sam, image: Tensor, box: Tensor) -> Tensor:
    """SAM's answer to inclusive pixel boxes, as its own code gives it."""
    record = {
        "image": image[0],
        "boxes": box - torch.tensor([0.0, 0, 1, 1]),
        "original_size": image.shape[-2:],
    }
    return sam([record], multimask_output=False)[0]["low_res_logits"]


def low_res_logits(decoder: nn.Module, features: SamFeatures) -> Tensor:
    return decoder(
        image_embeddings=features.image_embedding,
        image_pe=features.position,
        sparse_prompt_embeddings=features.sparse_prompt,
        dense_prompt_embeddings=features.dense_prompt,
        multimask_output=False,
    )[0]


def random_image(size: int) -> Tensor:
    return (60 * normal(1, 3, size, size) + 128).clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def test_a_small_sam_gives_the_same_logits() -> None:
    vit = {
        "img_size": 128,
        "embed_dim": 48,
        "depth": 3,
        "num_heads": 3,
        "out_chans": 256,
        "norm_layer": partial(nn.LayerNorm, eps=1e-6),
        "use_rel_pos": True,
        "window_size": 3,
        "global_attn_indexes": (1, 2),
    }
    sam = Sam(ImageEncoderViT(**vit), build_prompt_encoder(128), build_mask_decoder()).eval()
    randomise(sam, scale=0.1)
    ours = EarlyFeatureViT(**vit).eval()
    ours.load_state_dict(sam.image_encoder.state_dict())
    image, box = random_image(128).float(), torch.tensor([[10.0, 20, 90, 100]])

    features = SamEncoder(ours, sam.prompt_encoder)(sam.preprocess(image), box)

    expected = low_res_logits_of_sam(sam, image, box)
    torch.testing.assert_close(low_res_logits(sam.mask_decoder, features), expected, atol=1e-5, rtol=1e-5)
    shifted = SamEncoder(ours, sam.prompt_encoder)(sam.preprocess(image), box + torch.tensor([0.0, 0, 1, 1]))
    assert not torch.allclose(low_res_logits(sam.mask_decoder, shifted), expected, atol=1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_vit_b_at_1024_gives_the_same_logits(random_sam_vit_b: Path) -> None:
    sam = sam_model_registry["vit_b"](random_sam_vit_b).eval()
    model = build_model("vit_b", random_sam_vit_b, 1024)
    image, box = random_image(1024), torch.tensor([[100.0, 200, 900, 700]])

    normalised = model.normalise(image)
    features = model.encoder(normalised, box)

    assert torch.equal(normalised, sam.preprocess(image.float()))
    logits = low_res_logits(model.decoder.sam_decoder, features)
    torch.testing.assert_close(logits, low_res_logits_of_sam(sam, image.float(), box), atol=1e-5, rtol=1e-5)


def test_features_carry_no_gradient_and_prompts_can_follow_later() -> None:
    model = build_model("nano", image_size=64)
    image = model.normalise(random_image(64)).requires_grad_()
    box = torch.tensor([[1.0, 2, 30, 40]])

    at_once = model.encoder(image, box)
    later = model.encoder.prompt(*model.encoder.image_encoder(image), box)

    for name in vars(at_once):
        assert not getattr(at_once, name).requires_grad
        assert torch.equal(getattr(at_once, name), getattr(later, name))
