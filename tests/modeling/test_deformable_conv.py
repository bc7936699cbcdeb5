"""Ours against torchvision's operator, which is the definition of modulated deformable convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from helpers.model_inputs import normal, randomise
from pisam.modeling.deformable_conv import DeformableConv

NOT_SQUARE = (2, 4, 11, 15)


def torchvision_forward(layer: DeformableConv, x: Tensor) -> Tensor:
    modulator = 2 * torch.sigmoid(layer.modulator(x))
    padding = layer.kernel.kernel_size[0] // 2
    return deform_conv2d(x, layer.offset(x), layer.kernel.weight, padding=padding, mask=modulator)


@pytest.mark.parametrize("kernel_size", [3, 7])
def test_forward_and_all_gradients_equal_torchvision(kernel_size: int) -> None:
    layer = randomise(DeformableConv(4, 5, kernel_size), scale=0.2)
    x = normal(*NOT_SQUARE).requires_grad_()
    assert layer.offset(x).abs().max() > 3  # far enough to leave the map at its edges
    leaves = [x, *layer.parameters()]
    weight = normal(2, 5, 11, 15, seed=1)

    ours, theirs = layer(x), torchvision_forward(layer, x)

    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)
    our_gradients = torch.autograd.grad((ours * weight).sum(), leaves)
    their_gradients = torch.autograd.grad((theirs * weight).sum(), leaves)
    for ours, theirs in zip(our_gradients, their_gradients, strict=True):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@pytest.mark.parametrize("kernel_size", [3, 7])
def test_untrained_is_an_ordinary_convolution(kernel_size: int) -> None:
    layer, x = DeformableConv(4, 5, kernel_size), normal(*NOT_SQUARE)
    ordinary = F.conv2d(x, layer.kernel.weight, padding=kernel_size // 2)
    torch.testing.assert_close(layer(x), ordinary, atol=1e-5, rtol=1e-5)


def test_positions_keep_their_digits_under_autocast() -> None:
    """In bfloat16 the position 200 would be rounded by half a pixel."""
    layer, x = randomise(DeformableConv(2, 3, 3), scale=0.05), normal(1, 2, 8, 260)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low_precision = layer(x)
    assert (low_precision.float() - layer(x)).abs().mean() < 0.02 * layer(x).abs().mean()
