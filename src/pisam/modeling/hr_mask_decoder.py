"""High-Resolution Mask Decoder: stage 1 of Pi-SAM, on top of SAM's frozen mask decoder (Pi-SAM paper)."""

from __future__ import annotations

from dataclasses import replace

import torch
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn

from pisam.core.types import ObjectFeatures, Prediction, SamFeatures
from pisam.modeling.attention import project, run_sam_transformer, sam_mask
from pisam.modeling.guard import Guard, guarded
from pisam.modeling.hr_conv_head import HRConvHead
from pisam.modeling.layers import MLP, LayerNorm2d, conv3x3, upscale2x
from pisam.modeling.object_embedder import ObjectEmbedder


class MaskFeature(nn.Module):
    """Sum of SAM's decoder feature, its final and its early encoder feature, at a quarter of the frame.

    Args:
        early_dim: channels D of the early encoder feature.
        sam_dim: channels of SAM's image embedding.
        dim: channels of the mask feature M.
    """

    def __init__(self, early_dim: int, sam_dim: int = 256, dim: int = 32) -> None:
        super().__init__()
        self.from_decoder = nn.Sequential(
            conv3x3(dim, 2 * dim), LayerNorm2d(2 * dim), nn.GELU(), conv3x3(2 * dim, dim)
        )
        self.from_embedding = nn.Sequential(
            upscale2x(sam_dim, sam_dim // 4),
            LayerNorm2d(sam_dim // 4),
            nn.GELU(),
            upscale2x(sam_dim // 4, dim),
        )
        self.from_early = nn.Sequential(
            upscale2x(early_dim, sam_dim), LayerNorm2d(sam_dim), nn.GELU(), upscale2x(sam_dim, dim)
        )
        self.fusion = nn.Sequential(LayerNorm2d(dim), conv3x3(dim, dim), nn.GELU())

    def forward(self, upscaled: Tensor, image_embedding: Tensor, early: Tensor) -> Tensor:
        """(B, 32, F, F), (B, 256, E, E), (B, D, E, E) -> M (B, 32, F, F)."""
        total = self.from_decoder(upscaled) + self.from_embedding(image_embedding) + self.from_early(early)
        return self.fusion(total)


class HighResolutionMaskDecoder(nn.Module):
    """Predicts a mask at a quarter and at the full resolution of the frame from frozen SAM's features.

    SAM's decoder stays frozen, but gradients flow *through* it to the output token.

    Args:
        sam_decoder: SAM's mask decoder; frozen by the owner of this module.
        early_dim: channels D of the early encoder feature.
        from_sam: start as SAM and learn what to add to its mask: see `_start_as_sam`.
        guard: with `from_sam`, what it adds to SAM's mask is `guarded`.

    Raises:
        ValueError: `guard` without `from_sam`.
    """

    def __init__(
        self, *, sam_decoder: MaskDecoder, early_dim: int, from_sam: bool = False, guard: bool = False
    ) -> None:
        super().__init__()
        if guard and not from_sam:
            raise ValueError("guard needs from_sam: without it the decoder has no mask of SAM's")
        sam_dim = sam_decoder.transformer_dim
        dim = sam_dim // 8
        self.sam_decoder = sam_decoder
        self.output_token = nn.Embedding(1, sam_dim)
        self.token_mlp = MLP(sam_dim, sam_dim, dim, num_layers=3)
        self.mask_feature = MaskFeature(early_dim, sam_dim, dim)
        self.object_embedder = ObjectEmbedder(dim)
        self.head = HRConvHead(dim)
        self.guard = Guard(early_dim) if guard else None
        self.from_sam = from_sam
        if from_sam:
            self._start_as_sam()

    def forward(self, features: SamFeatures, image: Tensor) -> tuple[ObjectFeatures, Prediction]:
        """The straight-forward prediction, before any click.

        Args:
            features: what frozen SAM says of the image and its prompt.
            image: float (B, 3, S, S), normalised with SAM's mean and standard deviation.

        Returns:
            the object's features, which the interactor starts from, and the masks.
        """
        objects, low_res = self.answer(features)
        return objects, Prediction(low_res, self._head(objects, image))

    def answer(self, features: SamFeatures) -> tuple[ObjectFeatures, Tensor]:
        """The object's features and the low-resolution logits (B, 1, F, F), guarded but in training."""
        token, mask_feature, low_res = self.low_res(features)
        if self.guard is None or self.training:
            return self.embed(token, mask_feature, low_res), low_res
        familiar = self.guard(features.early)
        low_res = guarded(low_res, low_res - project(token, mask_feature), familiar)
        return replace(self.embed(token, mask_feature, low_res), familiar=familiar), low_res

    def low_res(self, features: SamFeatures) -> tuple[Tensor, Tensor, Tensor]:
        """T (B, 32), M (B, 32, F, F) and the low-resolution logits (B, 1, F, F)."""
        sam = self.sam_decoder
        learned = torch.cat([sam.iou_token.weight, sam.mask_tokens.weight, self.output_token.weight])
        tokens_out, upscaled = run_sam_transformer(sam, learned, features)
        token = self.token_mlp(tokens_out[:, -1])
        mask_feature = self.mask_feature(upscaled, features.image_embedding, features.early)
        logits = project(token, mask_feature)
        if self.from_sam:
            logits = logits + sam_mask(sam, tokens_out, upscaled, features.ambiguous)
        return token, mask_feature, logits

    def enhance(
        self, token: Tensor, mask_feature: Tensor, low_res: Tensor, image: Tensor
    ) -> tuple[ObjectFeatures, Prediction]:
        """From what `low_res` gives, or the same part of it and of the image, to the masks."""
        objects = self.embed(token, mask_feature, low_res)
        return objects, Prediction(low_res, self._head(objects, image))

    def _head(self, objects: ObjectFeatures, image: Tensor) -> Tensor:
        return self.head(objects.enhanced, image, objects.base, objects.familiar)

    def embed(self, token: Tensor, mask_feature: Tensor, low_res: Tensor) -> ObjectFeatures:
        """From what `low_res` gives to the object's features."""
        enhanced = self.object_embedder(mask_feature, low_res)  # O: (B, 32, F, F)
        return ObjectFeatures(enhanced, token, low_res if self.from_sam else None)

    @torch.no_grad()
    def _start_as_sam(self) -> None:
        """Weights with which both masks are SAM's own until something is learned.

        The output token and its MLP begin as those of SAM's mask, but for the last layer, which is zero, as
        is the head's: T adds nothing to SAM's logits, and the head nothing to the low-resolution ones.
        """
        sam = self.sam_decoder
        self.output_token.weight.copy_(sam.mask_tokens.weight[:1])
        *hidden, last = self.token_mlp.layers
        for ours, theirs in zip(hidden, sam.output_hypernetworks_mlps[0].layers, strict=False):
            ours.load_state_dict(theirs.state_dict())
        for layer in (last, self.head.output[-1]):
            for values in layer.parameters():
                nn.init.zeros_(values)
