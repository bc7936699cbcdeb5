"""Small layers shared by the parts; SAM's own where SAM has them, so that numbers agree with it."""

from __future__ import annotations

import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d as SamLayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn

__all__ = ["MLP", "LayerNorm2d", "PositionEmbeddingRandom", "conv3x3", "upscale2x"]


class LayerNorm2d(SamLayerNorm2d):
    """SAM's layer norm over the channels of (B, C, H, W), by the fused kernel: less memory, same numbers.

    In float32 also under autocast, as CUDA does by itself; the bfloat16 kernel of CPUs is three times slower.
    """

    def forward(self, x: Tensor) -> Tensor:
        channels_last = x.permute(0, 2, 3, 1).float()
        normed = F.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


def upscale2x(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """2x2 transposed convolution with stride 2: doubles the size."""
    return nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
