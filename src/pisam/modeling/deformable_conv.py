"""Modulated deformable convolution (DCNv2) written with `grid_sample`.

One sampling over all kernel taps, times the modulators, then a matrix product. It equals
`torchvision.ops.deform_conv2d` to rounding, trains several times faster on CPU, and exports to ONNX.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DeformableConv(nn.Module):
    """Deformable convolution whose offsets and modulators are predicted from its own input.

    Offsets and modulators start at zero, so an untrained layer is an ordinary convolution.

    Args:
        inputs: input channels.
        outputs: output channels.
        kernel_size: odd side of the kernel; the size of the map is kept.
    """

    taps: Tensor

    def __init__(self, inputs: int, outputs: int, kernel_size: int) -> None:
        super().__init__()
        side, padding = kernel_size, kernel_size // 2
        self.offset = nn.Conv2d(inputs, 2 * side**2, side, padding=padding)
        self.modulator = nn.Conv2d(inputs, side**2, side, padding=padding)
        self.kernel = nn.Conv2d(inputs, outputs, side, padding=padding, bias=False)
        for start_at_zero in (self.offset, self.modulator):
            nn.init.zeros_(start_at_zero.weight)
            nn.init.zeros_(start_at_zero.bias)  # type: ignore[arg-type]
        along = torch.arange(side, dtype=torch.float32) - padding
        taps = torch.stack(torch.meshgrid(along, along, indexing="ij"), dim=-1).reshape(-1, 2)
        self.register_buffer("taps", taps, persistent=False)  # (K, 2), (y, x) as in torchvision's offsets

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        batch, channels, height, width = x.shape
        offset = self.offset(x).float().unflatten(1, (-1, 2))  # (B, K, 2, H, W): positions need the digits
        modulator = 2 * torch.sigmoid(self.modulator(x).float())  # (B, K, H, W)

        rows = torch.arange(height, device=x.device, dtype=torch.float32)[:, None] + 0.5
        columns = torch.arange(width, device=x.device, dtype=torch.float32) + 0.5
        at_y = offset[:, :, 0] + self.taps[:, 0, None, None] + rows
        at_x = offset[:, :, 1] + self.taps[:, 1, None, None] + columns
        grid = torch.stack([at_x * (2 / width) - 1, at_y * (2 / height) - 1], dim=-1)  # (B, K, H, W, 2)

        sampled = F.grid_sample(x.float(), grid.flatten(1, 2), align_corners=False)  # (B, C, K*H, W)
        modulated = sampled.view(batch, channels, -1, height, width) * modulator[:, None]
        neighbours = modulated.view(batch, -1, height * width)  # (B, C*K, H*W)
        # bmm, because matmul of (outputs, C*K) with a batch copies the large factor: twice as slow on CPU.
        weight = self.kernel.weight.flatten(1).expand(batch, -1, -1)  # (B, outputs, C*K)
        return torch.bmm(weight, neighbours).view(batch, -1, height, width)
