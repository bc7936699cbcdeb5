"""SAM's three parts for each backbone, at any frame size, with an early feature beside the image embedding.

`vit_b`, `vit_l`, `vit_h` are segment-anything's; `vit_t` is MobileSAM's TinyViT from segment-anything-hq;
`nano` is a tiny random SAM of the same interface for tests and quick starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

from pisam.modeling.backbone_table import BACKBONES, LARGEST_FRAME, Backbone
from pisam.modeling.rel_pos_attention import use_fused_attention

PATCH = 16  # S / E, the same for every backbone
SAM_DIM = 256
NANO_SEED = 20241028


@dataclass
class SamParts:
    """A SAM taken apart."""

    # float (B, 3, S, S) -> image embedding (B, 256, E, E) and early feature (B, D, E, E)
    image_encoder: nn.Module
    prompt_encoder: PromptEncoder  # segment-anything's
    mask_decoder: MaskDecoder  # segment-anything's
    early_dim: int  # D


class EarlyFeatureViT(ImageEncoderViT):
    """SAM's image encoder that also returns the output of its first global-attention block."""

    def __init__(self, *, global_attn_indexes: tuple[int, ...], **arguments: Any) -> None:
        super().__init__(global_attn_indexes=global_attn_indexes, **arguments)
        self.early_index = global_attn_indexes[0]
        use_fused_attention(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self.early_index:
                early = x
        return self.neck(x.permute(0, 3, 1, 2)), early.permute(0, 3, 1, 2)


def check_image_size(image_size: int) -> None:
    """Refuse a side of the frame that no network can have.

    Raises:
        ValueError: no whole multiple of 64, or out of range.
    """
    if not isinstance(image_size, Integral) or not 64 <= image_size <= LARGEST_FRAME or image_size % 64:
        raise ValueError(
            f"image_size must be a positive multiple of 64, at most {LARGEST_FRAME}, got {image_size!r:.40}"
        )


def build_sam_parts(backbone: str, image_size: int) -> SamParts:
    """An untrained, unfrozen SAM for frames of image_size x image_size; `nano` is the same one each time.

    Raises:
        ValueError: unknown backbone, or a size that is no positive multiple of 64, or above `LARGEST_FRAME`.
    """
    check_image_size(image_size)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers do not depend on the backbone
        torch.manual_seed(NANO_SEED)
        image_encoder, early_dim = build_image_encoder(backbone, image_size)
        return SamParts(image_encoder, build_prompt_encoder(image_size), build_mask_decoder(), early_dim)


def build_image_encoder(backbone: str, image_size: int) -> tuple[nn.Module, int]:
    """An untrained image encoder and the channels D of its early feature."""
    if (row := BACKBONES.get(backbone) if isinstance(backbone, str) else None) is None:
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {backbone!r}")
    if row.depth:
        return _vit(image_size, row), row.early_dim
    # Imported here, because timm is slow to load and no other backbone needs it.
    from pisam.modeling.tiny_vit import EarlyFeatureTinyViT

    return EarlyFeatureTinyViT(image_size), row.early_dim


def build_prompt_encoder(image_size: int) -> PromptEncoder:
    """SAM's prompt encoder, untrained."""
    side = image_size // PATCH
    return PromptEncoder(
        embed_dim=SAM_DIM,
        image_embedding_size=(side, side),
        input_image_size=(image_size, image_size),
        mask_in_chans=16,
    )


def build_mask_decoder() -> MaskDecoder:
    """SAM's mask decoder, untrained; it knows no image size."""
    transformer = TwoWayTransformer(depth=2, embedding_dim=SAM_DIM, num_heads=8, mlp_dim=2048)
    return MaskDecoder(transformer_dim=SAM_DIM, transformer=transformer)


def _vit(image_size: int, row: Backbone) -> EarlyFeatureViT:
    return EarlyFeatureViT(
        img_size=image_size,
        patch_size=PATCH,
        embed_dim=row.early_dim,
        depth=row.depth,
        num_heads=row.heads,
        out_chans=SAM_DIM,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=row.global_blocks,
    )
