"""SAM's two-way transformer over a batch of images, and attention in which padded keys take no part."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn

from pisam.core.types import SamFeatures


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


def run_sam_transformer(sam: MaskDecoder, learned: Tensor, features: SamFeatures) -> tuple[Tensor, Tensor]:
    """Learned tokens and the prompt's through SAM's transformer, and the image feature upscaled.

    SAM's `MaskDecoder.forward` repeats one image over many prompts; here each sample has its own image. The
    transformer knows no padding: samples whose prompts have different numbers of tokens go through it in
    groups, so a sample's result does not depend on its batch.

    Args:
        sam: SAM's mask decoder.
        learned: float (T, 256), the decoder's own tokens.
        features: of B samples.

    Returns:
        the learned tokens (B, T, 256) afterwards, and the image feature (B, 32, F, F).
    """
    groups = features.by_prompt_length()
    if len(groups) == 1:
        return _run(sam, learned, groups[0][1])
    tokens, upscaled = zip(*(_run(sam, learned, group) for _, group in groups), strict=True)
    place = torch.tensor([row for rows, _ in groups for row in rows]).argsort()
    return torch.cat(tokens)[place], torch.cat(upscaled)[place]


def sam_mask(sam: MaskDecoder, tokens: Tensor, upscaled: Tensor, ambiguous: Tensor | None) -> Tensor:
    """Logits (B, 1, F, F) of SAM's single mask, or of the whole for a single point alone.

    For such a point SAM has three masks: subpart, part and whole. The objects of this package are wholes.

    Args:
        sam: SAM's mask decoder.
        tokens: float (B, T, 256), what its transformer made of its own tokens and perhaps others after them.
        upscaled: float (B, 32, F, F), with them.
        ambiguous: bool (B,), see `SamFeatures`.
    """
    token = sam.output_hypernetworks_mlps[0](tokens[:, 1])  # the first is that of the IoU
    if ambiguous is not None:
        whole = sam.output_hypernetworks_mlps[-1](tokens[:, sam.num_mask_tokens])
        token = whole.where(ambiguous[:, None], token)
    return project(token, upscaled)


def project(token: Tensor, feature: Tensor) -> Tensor:
    """Mask logits (B, 1, F, F) of a token (B, C) on a feature (B, C, F, F)."""
    return torch.einsum("bc,bchw->bhw", token, feature).unsqueeze(1)


def _run(sam: MaskDecoder, learned: Tensor, features: SamFeatures) -> tuple[Tensor, Tensor]:
    batch = features.image_embedding.shape[0]  # len() would be a constant of an exported graph
    tokens = torch.cat([learned.expand(batch, -1, -1), features.sparse_prompt], dim=1)
    source = features.image_embedding + features.dense_prompt
    tokens_out, source_out = sam.transformer(source, features.position.expand_as(source), tokens)
    upscaled = sam.output_upscaling(source_out.transpose(1, 2).view_as(source))
    return tokens_out[:, : len(learned)], upscaled
