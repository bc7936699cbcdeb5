from __future__ import annotations

import torch
from segment_anything.modeling.common import LayerNorm2d as SamLayerNorm2d

from helpers.model_inputs import normal, randomise
from pisam.modeling.layers import LayerNorm2d, conv3x3, upscale2x


def test_layer_norm_equals_sams() -> None:
    ours, sams = randomise(LayerNorm2d(8)), SamLayerNorm2d(8)
    sams.load_state_dict(ours.state_dict())
    x = 3 * normal(2, 8, 5, 7) + 1
    torch.testing.assert_close(ours(x), sams(x), atol=1e-6, rtol=1e-6)


def test_layer_norm_has_sams_eps() -> None:
    """Where the variance is as small as eps, another eps shows."""
    x = 1e-3 * normal(2, 8, 5, 7)
    torch.testing.assert_close(LayerNorm2d(8)(x), SamLayerNorm2d(8, eps=1e-6)(x), atol=1e-6, rtol=1e-5)
    assert (LayerNorm2d(8)(x) - SamLayerNorm2d(8, eps=1e-5)(x)).abs().max() > 0.1


def test_convolution_keeps_the_size_and_upscaling_doubles_it() -> None:
    x = normal(1, 4, 6, 9)
    assert conv3x3(4, 2)(x).shape == (1, 2, 6, 9)
    assert upscale2x(4, 2)(x).shape == (1, 2, 12, 18)
