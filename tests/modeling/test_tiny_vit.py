from __future__ import annotations

import torch

from helpers.model_inputs import normal
from pisam.modeling.tiny_vit import EarlyFeatureTinyViT, TinyViT


@torch.no_grad()
def test_equals_the_packages_own_forward_where_that_works() -> None:
    """segment-anything-hq's TinyViT runs at 1024 alone."""
    torch.manual_seed(0)
    ours = EarlyFeatureTinyViT(1024)
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
        if hasattr(module, "attention_biases"):
            module.attention_biases.normal_(0, 0.5)
    theirs = TinyViT(
        img_size=1024,
        num_classes=0,
        embed_dims=[64, 128, 160, 320],
        num_heads=[2, 4, 5, 10],
        drop_path_rate=0.0,
    )
    result = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert {name.split(".")[0] for name in result.missing_keys} == {"norm_head"}
    assert not result.unexpected_keys
    image = normal(1, 3, 1024, 1024)

    embedding, early = ours.eval()(image)
    expected, interm = theirs.eval()(image)

    torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(early, interm[0].permute(0, 3, 1, 2), atol=1e-5, rtol=1e-5)
