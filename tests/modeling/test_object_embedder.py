from __future__ import annotations

import torch

from helpers.model_inputs import normal
from pisam.modeling.object_embedder import ObjectEmbedder


def test_gradient_reaches_every_parameter_and_both_inputs() -> None:
    embedder = ObjectEmbedder()
    mask_feature, low_res = (
        normal(2, 32, 8, 12).requires_grad_(),
        normal(2, 1, 8, 12, seed=1).requires_grad_(),
    )

    enhanced = embedder(mask_feature, low_res)
    (enhanced * normal(2, 32, 8, 12, seed=2)).sum().backward()

    assert enhanced.shape == (2, 32, 8, 12)
    named = [*embedder.named_parameters(), ("mask_feature", mask_feature), ("low_res", low_res)]
    assert not [name for name, leaf in named if leaf.grad is None or not leaf.grad.any()]


def test_samples_do_not_mix() -> None:
    embedder, mask_feature, low_res = ObjectEmbedder(), normal(3, 32, 8, 8), normal(3, 1, 8, 8, seed=1)
    looped = [embedder(mask_feature[i : i + 1], low_res[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(embedder(mask_feature, low_res), torch.cat(looped), atol=1e-5, rtol=0)
