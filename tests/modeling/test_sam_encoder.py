"""Our encoder with SAM's decoder against segment-anything's own Sam."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, Sam
from torch import Tensor, nn

from helpers.model_inputs import normal, randomise
from pisam.core.types import Clicks, Prompts, SamFeatures
from pisam.modeling.backbones import EarlyFeatureViT, build_mask_decoder, build_prompt_encoder
from pisam.modeling.hq_sam import build_hq_sam
from pisam.modeling.pisam import build_model
from pisam.modeling.sam_encoder import SamEncoder


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

    assert at_once.prompt_lengths is None
    for name in ("image_embedding", "early", "sparse_prompt", "dense_prompt", "position"):
        assert not getattr(at_once, name).requires_grad
        assert torch.equal(getattr(at_once, name), getattr(later, name))


def mixed_prompts() -> Prompts:
    """A box, three points (one of them beside the object), a mask, one point."""
    valid = torch.tensor([[0, 0, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0]], dtype=torch.bool)
    points = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(1)) * 64
    clicks = Clicks(points, torch.tensor([[0, 0, 0], [1, 0, 1], [0, 0, 0], [1, 0, 0]]), valid)
    return Prompts(["box", "points", "mask", "points"], clicks, 5 * normal(4, 1, 16, 16, seed=5))


@torch.no_grad()
def test_prompts_are_encoded_as_sam_encodes_each_alone() -> None:
    model = build_model("nano", image_size=64)
    sam, prompts = model.encoder.prompt_encoder, mixed_prompts()
    box = torch.tensor([[1.0, 2, 30, 40]]).repeat(4, 1)

    features = model.encoder(normal(4, 3, 64, 64), box, prompts)

    # In SAM's own predictor a point is given as the index of its pixel.
    points = (prompts.points.points[1:2] - 0.5, prompts.points.labels[1:2])
    expected = [
        sam(points=None, boxes=torch.tensor([[1.0, 2, 29, 39]]), masks=None),
        sam(points=points, boxes=None, masks=None),
        sam(points=None, boxes=None, masks=prompts.mask[2:3]),
    ]
    assert features.prompt_lengths == [2, 4, 0, 2]
    for row, (sparse, dense) in enumerate(expected):
        length = sparse.shape[1]
        assert features.prompt_lengths[row] == length
        assert torch.equal(features.sparse_prompt[row, :length], sparse[0])
        assert torch.equal(features.dense_prompt[row], dense[0])


@torch.no_grad()
def test_hq_sam_takes_mixed_prompts_too() -> None:
    model = randomise(build_hq_sam("nano", image_size=64), scale=0.1).eval()
    image, prompts = torch.cat([random_image(64)] * 4), mixed_prompts()
    box = torch.tensor([[1.0, 2, 30, 40]]).repeat(4, 1)
    together = model(image, box, prompts).low_res
    for row in range(4):
        alone = model(image[:1], box[:1], prompts.select([row])).low_res
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-4)


@torch.no_grad()
def test_a_batch_of_mixed_prompts_gives_what_each_sample_gives_alone() -> None:
    model = randomise(build_model("nano", image_size=64), scale=0.1).eval()
    image = torch.cat([random_image(64), random_image(64).flip(2)] * 2)
    box, prompts = torch.tensor([[1.0, 2, 30, 40]]).repeat(4, 1), mixed_prompts()

    _, together = model.straight_forward(image, box, prompts)
    _, boxes = model.straight_forward(image, box)

    for row in range(4):
        single = slice(row, row + 1)
        _, alone = model.straight_forward(image[single], box[single], prompts.select([row]))
        torch.testing.assert_close(together.high_res[single], alone.high_res, atol=1e-5, rtol=1e-4)
        change = (together.low_res[row] - boxes.low_res[row]).abs().max() / boxes.low_res[row].abs().max()
        assert (change > 1e-4) == (prompts.kinds[row] != "box")


def test_boxes_named_as_prompts_are_the_boxes() -> None:
    model = build_model("nano", image_size=64)
    image, box = normal(2, 3, 64, 64), torch.tensor([[1.0, 2, 30, 40], [5.0, 6, 7, 8]])
    clicks = Clicks(
        torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0, dtype=torch.bool)
    )
    plain = model.encoder(image, box)
    named = model.encoder(image, box, Prompts(["box", "box"], clicks, torch.zeros(2, 1, 16, 16)))
    torch.testing.assert_close(plain.sparse_prompt, named.sparse_prompt)
    assert torch.equal(plain.dense_prompt, named.dense_prompt)


def test_gradient_reaches_the_output_token_through_every_group() -> None:
    model = build_model("nano", image_size=64)
    model.train_only("decoder")
    box = torch.tensor([[1.0, 2, 30, 40]]).repeat(4, 1)
    _, prediction = model.straight_forward(torch.cat([random_image(64)] * 4), box, mixed_prompts())
    prediction.low_res.square().mean().backward()
    assert model.decoder.output_token.weight.grad.abs().sum() > 0
