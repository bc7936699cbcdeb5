from __future__ import annotations

from collections.abc import Callable

import torch
from segment_anything.modeling.common import LayerNorm2d as SamLayerNorm2d
from torch import Tensor, nn

from helpers.model_inputs import normal, randomise
from pisam.modeling.layers import Conv1x1, LayerNorm2d, _NormOfChannels, conv3x3, upscale2x


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


def test_the_norm_of_a_card_has_the_same_values_and_gradients() -> None:
    layer = randomise(LayerNorm2d(8))
    x, gradient = torch.randn(2, 8, 9, 7).mul(3).add(2), torch.randn(2, 8, 9, 7)

    def through(norm: Callable[[Tensor], Tensor]) -> list[Tensor]:
        layer.zero_grad()
        given = x.clone().requires_grad_()
        result = norm(given)
        result.backward(gradient)
        return [result.detach(), given.grad, *(parameter.grad for parameter in layer.parameters())]

    elementwise = through(lambda x: _NormOfChannels.apply(x, layer.weight, layer.bias, layer.eps))
    for ours, fused in zip(elementwise, through(layer), strict=True):
        torch.testing.assert_close(ours, fused, atol=1e-5, rtol=1e-5)


def test_a_convolution_by_rows_is_the_convolution() -> None:
    layer, x = Conv1x1(3, 8), torch.randn(2, 3, 5, 7)
    assert isinstance(layer, nn.Conv2d) and set(layer.state_dict()) == {"weight", "bias"}
    torch.testing.assert_close(layer._by_rows(x), layer(x), atol=1e-6, rtol=1e-5)
