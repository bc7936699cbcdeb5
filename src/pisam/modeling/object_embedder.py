"""Object Embedder: deformable convolutions that follow thin structures (Pi-SAM paper)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pisam.modeling.deformable_conv import DeformableConv
from pisam.modeling.layers import LayerNorm2d, conv3x3


class ObjectEmbedder(nn.Module):
    """Fuses the mask feature M and the low-resolution logits into the enhanced feature O.

    Args:
        dim: channels of the mask feature and of the enhanced feature.
    """

    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Sequential(
            nn.Conv2d(dim + 1, dim, kernel_size=1),
            LayerNorm2d(dim),
            nn.GELU(),
            conv3x3(dim, dim),
            LayerNorm2d(dim),
            nn.GELU(),
        )
        self.deformable3 = nn.Sequential(DeformableConv(dim, dim, 3), LayerNorm2d(dim), nn.GELU())
        self.deformable7 = nn.Sequential(DeformableConv(dim, dim, 7), LayerNorm2d(dim), nn.GELU())
        self.fusion = nn.Sequential(
            nn.Conv2d(3 * dim, dim, kernel_size=1, bias=False), LayerNorm2d(dim), nn.GELU()
        )

    def forward(self, mask_feature: Tensor, low_res: Tensor) -> Tensor:
        """Enhance the mask feature.

        Args:
            mask_feature: float (B, dim, F, F).
            low_res: logits (B, 1, F, F); gradients pass through them.

        Returns:
            float (B, dim, F, F).
        """
        x = self.embedding(torch.cat([mask_feature, low_res], dim=1))
        return self.fusion(torch.cat([x, self.deformable3(x), self.deformable7(x)], dim=1))
