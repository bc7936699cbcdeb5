"""Ours against torchvision's operator, which is the definition of modulated deformable convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from helpers.model_inputs import normal, randomise
from pisam.modeling import deformable_conv
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


def test_position_that_is_no_number_counts_as_outside() -> None:
    layer, x = randomise(DeformableConv(4, 5, 3), scale=0.2), normal(*NOT_SQUARE)
    with torch.no_grad():
        layer.offset.bias[0] = torch.nan  # a row of the first tap: as `grid_sample` has it
        alone = layer(x)
        layer.offset.bias[0] = 1e9
        torch.testing.assert_close(alone, layer(x))


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


@pytest.mark.parametrize("way", ["sparse", "grid"])
@pytest.mark.parametrize("kernel_size", [3, 7])
def test_bands_and_recomputing_change_nothing(way: str, kernel_size: int, monkeypatch) -> None:
    """Both ways of sampling, in one band that is kept and in bands of a row that are computed again."""
    layer = randomise(DeformableConv(4, 5, kernel_size), scale=0.2)
    x = normal(*NOT_SQUARE).requires_grad_()
    leaves = [x, *layer.parameters()]
    weight = normal(2, 5, 11, 15, seed=1)
    if way == "grid":
        monkeypatch.setattr(deformable_conv, "SPARSE_DEVICES", ())
    results = []
    for band, kept in ((2**40, 2**40), (1, 0)):
        for name in ("BAND_BYTES", "DEVICE_BAND_BYTES"):
            monkeypatch.setattr(deformable_conv, name, band)
        monkeypatch.setattr(deformable_conv, "KEPT_BYTES", kept)
        answer = layer(x)
        results.append([answer, *torch.autograd.grad((answer * weight).sum(), leaves)])
    for whole, banded in zip(*results, strict=True):
        assert (whole - banded).abs().max() <= 1e-5 * whole.abs().max()
