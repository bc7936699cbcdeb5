"""The SAM backbones there are, a row each; `pisam.modeling.backbones` builds them."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_FRAME = 8192  # pixels a side: the encodings of a larger one fill any memory


@dataclass(frozen=True)
class Backbone:
    """A backbone: its builder, the file of its weights, its early feature."""

    early_dim: int  # channels of the early feature; in a plain ViT those of all blocks
    depth: int = 0  # number of blocks; 0 for MobileSAM's TinyViT, which has a builder of its own
    heads: int = 0  # of the attention
    # those that attend to the whole image; the first gives the early feature
    global_blocks: tuple[int, ...] = ()
    weights: str | None = None  # pattern of the published file's name; None where nothing is published


BACKBONES = {
    "nano": Backbone(192, depth=2, heads=3, global_blocks=(0, 1)),
    "vit_t": Backbone(160, weights="mobile_sam*.pt*"),
    "vit_b": Backbone(768, 12, 12, (2, 5, 8, 11), "sam_vit_b*.pth"),
    "vit_l": Backbone(1024, 24, 16, (5, 11, 17, 23), "sam_vit_l*.pth"),
    "vit_h": Backbone(1280, 32, 16, (7, 15, 23, 31), "sam_vit_h*.pth"),
}
