"""HQ-SAM (Ke et al., NeurIPS 2023) on frozen SAM: the layers of the authors' package, batched over images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn

from pisam.core.errors import PisamError
from pisam.core.types import Prediction, Prompts, SamFeatures
from pisam.modeling.attention import project, run_sam_transformer, sam_mask
from pisam.modeling.backbone_table import BACKBONES
from pisam.modeling.backbones import SamParts, build_sam_parts
from pisam.modeling.sam_network import SamNetwork
from pisam.modeling.sam_weights import load_sam, load_sam_state
from pisam.modeling.weights_file import read_checkpoint, unwrap

HQ_PARTS = ("hf_token", "hf_mlp", "compress_vit_feat", "embedding_encoder", "embedding_maskfeature")
BACKBONE_OF_EARLY_DIM = {row.early_dim: name for name, row in BACKBONES.items() if row.weights}


class HqMasks(NamedTuple):
    """The two masks of HQ-SAM, logits at a quarter of the frame.

    Attributes:
        sam: float (B, 1, F, F), SAM's mask as its decoder gives it with the HQ token among its own.
        hq: float (B, 1, F, F), the mask of the HQ token.
    """

    sam: Tensor
    hq: Tensor


class HqMaskDecoder(nn.Module):
    """The trained layers of the authors' `MaskDecoderHQ` around SAM's frozen mask decoder.

    Args:
        sam_decoder: SAM's mask decoder; frozen by the owner of this module.
        early_dim: channels D of the early encoder feature.
    """

    def __init__(self, *, sam_decoder: MaskDecoder, early_dim: int) -> None:
        super().__init__()
        # Imported here, because timm is slow to load and Pi-SAM alone does not need it.
        from pisam.modeling.sam_hq_package import MaskDecoderHQ

        theirs = MaskDecoderHQ(
            transformer_dim=sam_decoder.transformer_dim,
            transformer=sam_decoder.transformer,
            vit_dim=early_dim,
        )
        self.sam_decoder = sam_decoder
        self.hf_token = theirs.hf_token
        self.hf_mlp = theirs.hf_mlp
        self.compress_vit_feat = theirs.compress_vit_feat
        self.embedding_encoder = theirs.embedding_encoder
        self.embedding_maskfeature = theirs.embedding_maskfeature

    def forward(self, features: SamFeatures, hq_feature: Tensor | None = None) -> HqMasks:
        """Masks of a batch of images with one prompt each.

        Args:
            features: what frozen SAM says of the images and prompts.
            hq_feature: of these images as `hq_feature` gave it, where they are prompted again and again.
        """
        sam = self.sam_decoder
        learned = torch.cat([sam.iou_token.weight, sam.mask_tokens.weight, self.hf_token.weight])
        tokens_out, upscaled = run_sam_transformer(sam, learned, features)  # (B, T, 256), (B, 32, F, F)
        if hq_feature is None:
            hq_feature = self.hq_feature(features.image_embedding, features.early)
        hq_upscaled = self.embedding_maskfeature(upscaled) + hq_feature

        return HqMasks(
            sam=sam_mask(sam, tokens_out, upscaled, features.ambiguous),
            hq=project(self.hf_mlp(tokens_out[:, -1]), hq_upscaled),
        )

    def hq_feature(self, image_embedding: Tensor, early: Tensor) -> Tensor:
        """The HQ feature (B, 32, F, F) of images, whatever is prompted; arguments as in `SamFeatures`."""
        return self.embedding_encoder(image_embedding) + self.compress_vit_feat(early)


class HqSam(SamNetwork):
    """HQ-SAM: SAM's encoders and mask decoder, frozen, and the HQ token with its features.

    Args:
        backbone: name of the SAM backbone.
        image_size: side S of the square frame.
        parts: a SAM with its weights loaded.
    """

    kind = "hq"
    decoder: HqMaskDecoder

    def __init__(self, *, backbone: str, image_size: int, parts: SamParts) -> None:
        decoder = HqMaskDecoder(sam_decoder=parts.mask_decoder, early_dim=parts.early_dim)
        super().__init__(backbone=backbone, image_size=image_size, parts=parts, decoder=decoder)

    def forward(self, image: Tensor, box: Tensor, prompts: Prompts | None = None) -> Prediction:
        """The mask of the HQ token, at its own resolution and enlarged to the frame as SAM enlarges masks.

        Args:
            image: uint8 (B, 3, S, S) RGB.
            box: float (B, 4), xyxy edges in pixels of the frame.
            prompts: other prompts in place of boxes; None = the boxes.
        """
        low_res = self.decoder(self.encoder(self.normalise(image), box, prompts)).hq
        high_res = F.interpolate(low_res, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return Prediction(low_res, high_res)


def build_hq_sam(backbone: str, weights: str | Path | None = None, image_size: int = 1024) -> HqSam:
    """An HQ-SAM with SAM's weights loaded and its own parts freshly initialised; see `build_model`."""
    return HqSam(backbone=backbone, image_size=image_size, parts=load_sam(backbone, weights, image_size))


def is_published_hq(contents: dict) -> bool:
    """True where a checkpoint's contents are a published HQ-SAM, SAM included, in the authors' names."""
    state = unwrap(contents)
    return all(f"mask_decoder.{name}" in state for name in ("hf_token.weight", "iou_token.weight"))


def load_published_hq(checkpoint: str | Path, image_size: int = 1024) -> HqSam:
    """A published HQ-SAM (`sam_hq_vit_*.pth`), which holds its SAM too, in evaluation mode.

    Args:
        checkpoint: a state dict in the names of the authors' package; the backbone is read off its shapes.
        image_size: side S of the frame; position tables are fitted to it.

    Raises:
        PisamError: no published HQ-SAM, or names or shapes that differ; the message lists them.
    """
    path = Path(checkpoint)
    state = unwrap(read_checkpoint(path))
    early = state.get("mask_decoder.compress_vit_feat.0.weight")
    if not is_published_hq(state) or early is None or len(early) not in BACKBONE_OF_EARLY_DIM:
        raise PisamError(
            f"checkpoint {path}: no published HQ-SAM, which has mask_decoder.hf_token.weight and "
            f"mask_decoder.compress_vit_feat.0.weight with one of {sorted(BACKBONE_OF_EARLY_DIM)} rows"
        )
    prefixes = tuple(f"mask_decoder.{part}." for part in HQ_PARTS)
    own = {name: value for name, value in state.items() if name.startswith(prefixes)}
    sam = {name: value for name, value in state.items() if name not in own}
    backbone = BACKBONE_OF_EARLY_DIM[len(early)]
    parts = build_sam_parts(backbone, image_size)
    load_sam_state(parts, sam, image_size, what=f"HQ-SAM weights {path}")
    model = HqSam(backbone=backbone, image_size=image_size, parts=parts)
    model.load_own_state(
        {name.replace("mask_decoder.", "decoder.", 1): value for name, value in own.items()},
        what=f"HQ-SAM weights {path}",
    )
    return model.eval()
