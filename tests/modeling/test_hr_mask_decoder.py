from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.model_inputs import normal, random_features
from pisam.modeling.backbones import build_mask_decoder
from pisam.modeling.hr_mask_decoder import HighResolutionMaskDecoder

EARLY_DIM = 24


@pytest.fixture(scope="module")
def decoder() -> HighResolutionMaskDecoder:
    torch.manual_seed(0)
    decoder = HighResolutionMaskDecoder(sam_decoder=build_mask_decoder(), early_dim=EARLY_DIM)
    decoder.sam_decoder.requires_grad_(False)
    return decoder


@torch.no_grad()
def test_batched_equals_looped(decoder: HighResolutionMaskDecoder) -> None:
    features, image = random_features(3, early_dim=EARLY_DIM), normal(3, 3, 64, 64, seed=9)

    objects, prediction = decoder(features, image)

    assert prediction.low_res.shape == (3, 1, 16, 16)
    assert prediction.high_res.shape == (3, 1, 64, 64)
    for i in range(3):
        batched = ("image_embedding", "early", "sparse_prompt", "dense_prompt")
        one = {name: getattr(features, name)[i : i + 1] for name in batched}
        alone_objects, alone = decoder(replace(features, **one), image[i : i + 1])
        for ours, theirs in [
            (objects.enhanced, alone_objects.enhanced),
            (objects.token, alone_objects.token),
            (prediction.low_res, alone.low_res),
            (prediction.high_res, alone.high_res),
        ]:
            torch.testing.assert_close(ours[i : i + 1], theirs, atol=1e-5, rtol=1e-5)


def gradients(decoder: HighResolutionMaskDecoder, output: str) -> dict[str, torch.Tensor | None]:
    decoder.zero_grad()
    _, prediction = decoder(random_features(1, early_dim=EARLY_DIM), normal(1, 3, 64, 64, seed=9))
    logits = getattr(prediction, output)
    (logits * normal(*logits.shape, seed=10)).sum().backward()
    return {name: parameter.grad for name, parameter in decoder.named_parameters()}


def test_gradient_flows_through_frozen_sam_and_low_res_logits_to_the_output_token(
    decoder: HighResolutionMaskDecoder,
) -> None:
    """The token reaches the high-resolution mask by way of the low-resolution logits alone."""
    for name, gradient in gradients(decoder, "high_res").items():
        if name.startswith("sam_decoder."):
            assert gradient is None, name
        else:
            assert gradient is not None and gradient.any(), name


def test_the_output_token_is_read_where_it_was_put_and_gets_the_gradient(
    decoder: HighResolutionMaskDecoder,
) -> None:
    calls: list[tuple] = []
    hook = decoder.sam_decoder.transformer.register_forward_hook(lambda _, *call: calls.append(call))
    objects, _ = decoder(random_features(1, early_dim=EARLY_DIM), normal(1, 3, 64, 64, seed=9))
    hook.remove()

    (_, _, tokens_in), (tokens_out, _) = calls[0]
    (place,) = (tokens_in[0] == decoder.output_token.weight).all(dim=1).nonzero()
    torch.testing.assert_close(objects.token, decoder.token_mlp(tokens_out[:, place.item()]))
    (gradient,) = torch.autograd.grad(objects.token.sum(), decoder.output_token.weight)
    assert gradient.any()


def test_low_res_logits_train_the_mask_feature_and_the_token(decoder: HighResolutionMaskDecoder) -> None:
    reached = {name for name, gradient in gradients(decoder, "low_res").items() if gradient is not None}
    parts = {name.split(".")[0] for name in reached}
    assert parts == {"output_token", "token_mlp", "mask_feature"}


@pytest.mark.parametrize("name", ["image_embedding", "early", "sparse_prompt", "dense_prompt", "position"])
@torch.no_grad()
def test_every_feature_takes_part(decoder: HighResolutionMaskDecoder, name: str) -> None:
    features, image = random_features(1, early_dim=EARLY_DIM), normal(1, 3, 64, 64, seed=9)
    other = replace(features, **{name: getattr(features, name).flip(-1)})
    assert not torch.allclose(decoder(features, image)[1].high_res, decoder(other, image)[1].high_res)


def test_parts_of_sam_are_asked_as_sam_asks_them(decoder: HighResolutionMaskDecoder) -> None:
    """Without our token, the upscaled feature is what SAM's own forward pass computes its masks from."""
    sam, features = decoder.sam_decoder, random_features(1, early_dim=EARLY_DIM)
    captured = []
    hook = sam.output_upscaling.register_forward_hook(lambda *call: captured.append(call[-1]))
    with torch.no_grad():
        sam.predict_masks(
            features.image_embedding, features.position, features.sparse_prompt, features.dense_prompt
        )
        # SAM has five learned tokens; repeating one of its prompts in place of ours makes the same set.
        held = decoder.output_token.weight.data.clone()
        decoder.output_token.weight.data = features.sparse_prompt[0, :1].clone()
        shorter = replace(features, sparse_prompt=features.sparse_prompt[:, 1:])
        decoder(shorter, normal(1, 3, 64, 64))
        decoder.output_token.weight.data = held
    hook.remove()
    torch.testing.assert_close(captured[0], captured[1], atol=1e-5, rtol=1e-5)
