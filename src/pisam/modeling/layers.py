"""Small layers shared by the parts; SAM's own where SAM has them, so that numbers agree with it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d as SamLayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn

__all__ = ["MLP", "Conv1x1", "LayerNorm2d", "PositionEmbeddingRandom", "conv3x3", "upscale2x"]


class LayerNorm2d(SamLayerNorm2d):
    """SAM's layer norm over the channels of (B, C, H, W): same numbers, less memory and time.

    In float32 also under autocast, as CUDA does by itself; the bfloat16 kernel of CPUs is three times slower.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            normed: Tensor = _NormOfChannels.apply(x, self.weight, self.bias, self.eps)
            return normed
        channels_last = x.permute(0, 2, 3, 1).float()
        normed = F.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class _NormOfChannels(torch.autograd.Function):
    """Layer norm by elementwise operators, for the fused kernels work row by row, here of 8 numbers.

    CUDA's takes a block a row; the CPU's is up to four times slower than this, and leaves channels last.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        weight, bias = weight.float().view(-1, 1, 1), bias.float().view(-1, 1, 1)
        mean = x.float().mean(dim=1, keepdim=True)
        centred = x - mean
        scale = centred.square().mean(dim=1, keepdim=True).add_(eps).rsqrt_()
        context.save_for_backward(x, mean, scale, weight)
        return centred.mul_(scale).mul_(weight).add_(bias)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, mean, scale, weight = context.saved_tensors
        normed = (x - mean).mul_(scale)
        of_bias, of_weight = gradient.sum(dim=(0, 2, 3)), (gradient * normed).sum(dim=(0, 2, 3))
        of_normed = gradient * weight
        along = (of_normed * normed).mean(dim=1, keepdim=True)
        of_normed.sub_(of_normed.mean(dim=1, keepdim=True)).sub_(normed.mul_(along)).mul_(scale)
        return of_normed.to(x.dtype), of_weight, of_bias, None


class Conv1x1(nn.Conv2d):
    """1x1 convolution of a few channels of a large map.

    On a card a product for each row of pixels: cuDNN takes the gradient of the weights as a single product
    over all pixels, which was a tenth of a training step.
    """

    bias: nn.Parameter

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        return super().forward(x) if x.device.type == "cpu" else self._by_rows(x)

    def _by_rows(self, x: Tensor) -> Tensor:
        batch, _, height, _ = x.shape
        rows = x.transpose(1, 2).flatten(0, 1)  # (B H, inputs, W)
        weight = self.weight.flatten(1).expand(batch * height, -1, -1)
        product = torch.bmm(weight, rows).unflatten(0, (batch, height)).transpose(1, 2)
        return product.contiguous() + self.bias[:, None, None]


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


def upscale2x(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """2x2 transposed convolution with stride 2: doubles the size."""
    return nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
