"""MobileSAM's image encoder at any frame size, with the early feature that HQ-SAM's light model takes."""

from __future__ import annotations

from torch import Tensor

from pisam.modeling.sam_hq_package import TinyViT

EARLY_DIM = 160
EARLY_STAGE = 1


class EarlyFeatureTinyViT(TinyViT):
    """TinyViT-5M whose forward pass works at any size; the package's own assumes a 64 x 64 grid.

    Args:
        image_size: side S of the frame, a multiple of 64.
    """

    def __init__(self, image_size: int) -> None:
        super().__init__(
            img_size=image_size,
            num_classes=0,
            embed_dims=[64, 128, EARLY_DIM, 320],
            depths=[2, 2, 6, 2],
            num_heads=[2, 4, 5, 10],
            window_sizes=[7, 7, 14, 7],
            drop_path_rate=0.0,
        )
        del self.norm_head  # the classifier's, not part of SAM

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image (B, 3, S, S) -> image embedding (B, 256, E, E), early feature (B, 160, E, E)."""
        side = self.img_size // 16
        x = self.patch_embed(image)
        for stage, layer in enumerate(self.layers):
            x = layer(x)
            if stage == EARLY_STAGE:
                early = x
        grid = x.transpose(1, 2).unflatten(2, (side, side))
        return self.neck(grid), early.transpose(1, 2).unflatten(2, (side, side))
