"""Modulated deformable convolution (DCNv2) as sampling and a matrix product.

It equals `torchvision.ops.deform_conv2d` to rounding. CUDA has `deformable_kernels`. On a CPU the sampling is
a product with a sparse matrix of four corners a row; elsewhere, and where a graph is traced or exported, it
is `grid_sample`. There the map of all taps, K times as large as the input, is made in bands of rows; a large
one is made again in the backward pass instead of kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pisam.modeling.sparse_sampling import sample_bilinearly

BAND_BYTES = 2**23  # of the sampled map on a CPU: what its caches hold
DEVICE_BAND_BYTES = 2**28  # elsewhere: large enough that kernels are worth their launch
SPARSE_DEVICES = ("cpu",)
KEPT_BYTES = 2**28  # of the whole sampled map: more is computed again rather than kept


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
        if x.is_cuda and not torch.jit.is_tracing():
            from pisam.modeling import deformable_kernels

            if deformable_kernels.fits(self.kernel.weight):
                return deformable_kernels.deformable_conv(x, self._predict(x), self.kernel.weight)
        shifts, modulator = self._predict(x).split([2 * len(self.taps), len(self.taps)], dim=1)
        shifts, modulator = shifts.unflatten(1, (-1, 2)), 2 * torch.sigmoid(modulator)
        rows = torch.arange(height, device=x.device, dtype=torch.float32)[:, None]
        columns = torch.arange(width, device=x.device, dtype=torch.float32)
        at_y = shifts[:, :, 0] + self.taps[:, 0, None, None] + rows  # (B, K, H, W), in cells of the map
        at_x = shifts[:, :, 1] + self.taps[:, 1, None, None] + columns

        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        sparse = x.device.type in SPARSE_DEVICES and not traced
        whole = 4 * batch * len(self.taps) * channels * height * width  # bytes of the sampled map
        band = height if traced else max(1, height * (BAND_BYTES if sparse else DEVICE_BAND_BYTES) // whole)
        convolve = _sparse_band if sparse else _grid_band
        source = x.float()
        if sparse:  # bands share one table of pixels
            source = F.pad(source, (1, 2, 1, 2)).permute(0, 2, 3, 1).contiguous()
        recompute = torch.is_grad_enabled() and whole > KEPT_BYTES
        bands = []
        for at in zip(*(part.split(band, dim=2) for part in (at_y, at_x, modulator)), strict=True):
            arguments = (source, *at, self.kernel.weight)
            if recompute:
                bands.append(checkpoint(convolve, *arguments, use_reentrant=False, preserve_rng_state=False))
            else:
                bands.append(convolve(*arguments))
        return torch.cat(bands, dim=1).permute(0, 3, 1, 2)

    def _predict(self, x: Tensor) -> Tensor:
        """(B, 3 K, H, W): offsets, then logits of half the modulators; positions need float32."""
        layers = self.offset, self.modulator
        weight = torch.cat([layer.weight for layer in layers])
        bias = torch.cat([layer.bias for layer in layers])  # type: ignore[misc]
        return F.conv2d(x, weight, bias, padding=self.offset.padding).float()


def _sparse_band(source: Tensor, at_y: Tensor, at_x: Tensor, modulator: Tensor, weight: Tensor) -> Tensor:
    """Rows (B, r, W, outputs) of the result from a table (B, H + 3, W + 3, inputs), zeros around the map."""
    batch, _, rows, width = at_y.shape
    points = (part.permute(0, 2, 3, 1) for part in (at_y, at_x, modulator))  # (B, r, W, K)
    sampled = sample_bilinearly(source, *points)  # (B, r, W, K, inputs)
    return F.linear(sampled.view(batch, rows, width, -1), weight.permute(0, 2, 3, 1).flatten(1))


def _grid_band(source: Tensor, at_y: Tensor, at_x: Tensor, modulator: Tensor, weight: Tensor) -> Tensor:
    """Rows (B, r, W, outputs) of the result from the map (B, inputs, H, W)."""
    batch, channels, height, width = source.shape
    rows = at_y.shape[2]
    grid = torch.stack([(at_x + 0.5) * (2 / width) - 1, (at_y + 0.5) * (2 / height) - 1], dim=-1)
    sampled = F.grid_sample(source, grid.flatten(1, 2), align_corners=False)  # (B, C, K*r, W)
    modulated = sampled.view(batch, channels, -1, rows, width) * modulator[:, None]
    neighbours = modulated.view(batch, -1, rows * width)  # (B, C*K, r*W)
    # bmm, because matmul of (outputs, C*K) with a batch copies the large factor.
    product = torch.bmm(weight.flatten(1).expand(batch, -1, -1), neighbours)
    return product.view(batch, -1, rows, width).permute(0, 2, 3, 1)
