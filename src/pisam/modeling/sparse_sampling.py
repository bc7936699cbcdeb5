"""Bilinear sampling on a CPU as a product with a sparse matrix: all channels of a corner lie side by side."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from scipy.sparse import csr_array
from torch import Tensor

CORNERS = 4

with warnings.catch_warnings():  # PyTorch says once a process that this layout is in beta; it is said here
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0], [], [], (0, 1), dtype=torch.float32)


def sample_bilinearly(table: Tensor, at_y: Tensor, at_x: Tensor, factor: Tensor) -> Tensor:
    """Values between the pixels of a map, each times a factor; zero outside of the map.

    Args:
        table: float32 (B, H + 3, W + 3, C) on the CPU, the map, one row and column of zeros before it and two
            behind it.
        at_y: float32 (B, ...), rows of the map; the centre of the first pixel is 0. NaN counts as outside.
        at_x: float32 (B, ...), columns.
        factor: float32 (B, ...).

    Returns:
        float32 (B, ..., C), with gradients for all four.
    """
    batch, high, wide, channels = table.shape
    # From the ring of zeros on nothing changes any more. fmax, because a NaN must not become an index.
    at_y = torch.fmin(torch.fmax(at_y, at_y.new_tensor(-1)), at_y.new_tensor(high - 3))
    at_x = torch.fmin(torch.fmax(at_x, at_x.new_tensor(-1)), at_x.new_tensor(wide - 3))
    top, left = at_y.detach().floor(), at_x.detach().floor()
    first = (torch.arange(batch, dtype=torch.int32) * (high * wide)).view(-1, *[1] * (at_y.dim() - 1))
    corner = (top.int() + 1) * wide + (left.int() + 1) + first
    steps = torch.tensor([0, 1, wide, wide + 1], dtype=torch.int32)
    index = corner.reshape(-1, 1) + steps

    down, right = (at_y - top).reshape(-1, 1), (at_x - left).reshape(-1, 1)
    lower = down * factor.reshape(-1, 1)
    upper = factor.reshape(-1, 1) - lower
    below, above = lower * right, upper * right
    weight = torch.cat([upper - above, above, lower - below, below], dim=1)
    sampled = _SparseProduct.apply(table.view(-1, channels), index, weight)
    return sampled.view(*at_y.shape, channels)


class _SparseProduct(torch.autograd.Function):
    """Rows of a table (R, C), weighted: index int32 (N, 4), weight float32 (N, 4) -> (N, C)."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(table, index, weight)
        return torch.from_numpy(_matrix(index, weight, len(table)) @ table.detach().numpy())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor]:
        table, index, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_table = torch.from_numpy(_matrix(index, weight, len(table)).T @ gradient.numpy())
        # The products of a gradient's row and a table's, at the matrix's places alone.
        places = torch.sparse_csr_tensor(
            _row_starts(index), index.flatten(), torch.zeros(index.numel()), (len(index), len(table)),
            check_invariants=False,
        )  # fmt: skip
        of_weight = torch.sparse.sampled_addmm(places, gradient, table.t(), beta=0.0).values()
        return of_table, None, of_weight.view_as(weight)


def _row_starts(index: Tensor) -> Tensor:
    return torch.arange(0, index.numel() + 1, CORNERS, dtype=torch.int32)


def _matrix(index: Tensor, weight: Tensor, width: int) -> csr_array:
    parts = weight.detach().numpy().ravel(), index.numpy().ravel(), _row_starts(index).numpy()
    return csr_array(parts, shape=(len(index), width))
