"""Attention of SAM's image encoder without the map of biases, one number for each pair of pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling.image_encoder import Attention
from torch import Tensor, nn

BAND_BYTES = 2**24  # of attention scores on a CPU: what its caches hold
SMALL = 2**8  # pixels, as of a window, for which the map of biases is small and half as slow as more columns


class RelPosAttention(nn.Module):
    """Attention with SAM's decomposed relative position, equal to segment-anything's to rounding.

    The bias of a query q and a key k is q . Rh[row of q, row of k] + q . Rw[column of q, column of k]. On a
    CPU it is added to the scores of a band of queries, elsewhere to those of a window. For whole maps it
    enters as further columns of queries and keys, which any fused kernel takes:
    [q, q Rh, q Rw] . [k, one-hot row of k, one-hot column of k].

    Args:
        attention: segment-anything's layer, whose parameters it takes over under their names.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.num_heads = attention.num_heads
        self.scale = attention.scale
        self.qkv = attention.qkv
        self.proj = attention.proj
        self.rel_pos_h = attention.rel_pos_h
        self.rel_pos_w = attention.rel_pos_w

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C), where 2 H - 1 and 2 W - 1 are the lengths of the tables."""
        batch, height, width, _ = x.shape
        qkv = self.qkv(x).view(batch, height * width, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, d)
        grid = q.unflatten(2, (height, width))
        of_rows = grid @ _table(self.rel_pos_h).transpose(1, 2)  # (B, heads, H, W, H)
        by_column = grid.transpose(2, 3) @ _table(self.rel_pos_w).transpose(1, 2)
        of_columns = by_column.transpose(2, 3)  # (B, heads, H, W, W)
        if x.device.type == "cpu":
            attend = self._in_bands
        else:
            attend = self._in_columns if height * width > SMALL else self._with_biases
        attended = attend(q, k, v, of_rows, of_columns)
        return self.proj(attended.transpose(1, 2).reshape(batch, height, width, -1))

    def _in_bands(self, q: Tensor, k: Tensor, v: Tensor, of_rows: Tensor, of_columns: Tensor) -> Tensor:
        batch, heads, height, width, _ = of_rows.shape
        keys, v = k.transpose(2, 3).contiguous(), v.contiguous()
        queries = (q * self.scale).unflatten(2, (height, width))
        rows = max(1, BAND_BYTES // (4 * batch * heads * width * height * width))
        bands = []
        parts = (part.split(rows, dim=2) for part in (queries, of_rows, of_columns))
        for query, of_row, of_column in zip(*parts, strict=True):
            scores = (query.flatten(2, 3) @ keys).view(*query.shape[:4], height, width)
            scores += of_row.unsqueeze(-1)
            scores += of_column.unsqueeze(-2)
            bands.append(scores.flatten(4).flatten(2, 3).softmax(dim=-1).to(v.dtype) @ v)
        return torch.cat(bands, dim=2)

    def _with_biases(self, q: Tensor, k: Tensor, v: Tensor, of_rows: Tensor, of_columns: Tensor) -> Tensor:
        biases = (of_rows.unsqueeze(-1) + of_columns.unsqueeze(-2)).flatten(4).flatten(2, 3).to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=biases, scale=self.scale)

    def _in_columns(self, q: Tensor, k: Tensor, v: Tensor, of_rows: Tensor, of_columns: Tensor) -> Tensor:
        batch, heads, height, width, _ = of_rows.shape
        rows = torch.eye(height, device=q.device, dtype=k.dtype)[:, None].expand(-1, width, -1)
        columns = torch.eye(width, device=q.device, dtype=k.dtype)[None].expand(height, -1, -1)
        where = torch.cat([rows, columns], dim=-1).flatten(0, 1)  # (N, H + W)
        biases = torch.cat([of_rows, of_columns], dim=-1).flatten(2, 3)
        queries = torch.cat([q * self.scale, biases], dim=-1)
        keys = torch.cat([k, where.expand(batch, heads, -1, -1)], dim=-1)
        # PyTorch's flash kernel wants one width for all three, a multiple of 8.
        own, wide = v.shape[-1], -(-keys.shape[-1] // 8) * 8
        queries, keys, values = (F.pad(part, (0, wide - part.shape[-1])) for part in (queries, keys, v))
        return F.scaled_dot_product_attention(queries, keys, values, scale=1.0)[..., :own]


def use_fused_attention(image_encoder: nn.Module) -> None:
    """Give each block of segment-anything's image encoder this attention; names and values stay."""
    for block in image_encoder.blocks:  # type: ignore[union-attr]
        block.attn = RelPosAttention(block.attn)


def _table(positions: Tensor) -> Tensor:
    """Rows of a relative position's table (2 S - 1, d) for each pair of places: (S, S, d)."""
    side = (len(positions) + 1) // 2
    place = torch.arange(side, device=positions.device)
    return positions[place[:, None] - place + (side - 1)]
