"""Single-head attention in which padded keys take no part."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """SAM's attention layer (four linear layers with bias) with one head and a key mask.

    Queries and keys start near the identity: before any training a query attends to the keys like it.

    Args:
        dim: width of queries, keys and values; the scale is 1 / sqrt(dim).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        with torch.no_grad():
            for projection in (self.q_proj, self.k_proj):
                projection.weight.diagonal().add_(1)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, key_valid: Tensor | None = None) -> Tensor:
        """Attend from queries to keys.

        Args:
            q: float (B, Nq, dim).
            k: float (B, Nk, dim).
            v: float (B, Nk, dim).
            key_valid: bool (B, Nk), False where a key is padding; every sample needs one valid key.

        Returns:
            float (B, Nq, dim).
        """
        mask = None if key_valid is None else key_valid[:, None, :]
        attended = F.scaled_dot_product_attention(
            self.q_proj(q), self.k_proj(k), self.v_proj(v), attn_mask=mask
        )
        return self.out_proj(attended)
