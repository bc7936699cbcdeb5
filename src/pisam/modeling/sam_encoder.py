"""SAM's frozen encoders: what they say of an image and a box."""

from __future__ import annotations

import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn

from pisam.geometry import sam_boxes
from pisam.types import SamFeatures


class SamEncoder(nn.Module):
    """Image encoder and prompt encoder, without gradient.

    Args:
        image_encoder: float (B, 3, S, S) -> image embedding and early feature, see `backbones`.
        prompt_encoder: segment-anything's.
    """

    def __init__(self, image_encoder: nn.Module, prompt_encoder: PromptEncoder) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder

    @torch.no_grad()
    def forward(self, image: Tensor, box: Tensor) -> SamFeatures:
        """Encode.

        Args:
            image: float (B, 3, S, S), normalised.
            box: float (B, 4), xyxy edges in pixels of the frame, one per image.
        """
        image_embedding, early = self.image_encoder(image)
        return self.prompt(image_embedding, early, box)

    @torch.no_grad()
    def prompt(self, image_embedding: Tensor, early: Tensor, box: Tensor) -> SamFeatures:
        """Encode boxes for images that were encoded before.

        Args:
            image_embedding: float (B, 256, E, E), from the image encoder.
            early: float (B, D, E, E), from the image encoder.
            box: as in `forward`.
        """
        sparse_prompt, dense_prompt = self.prompt_encoder(points=None, boxes=sam_boxes(box), masks=None)
        return SamFeatures(
            image_embedding=image_embedding,
            early=early,
            sparse_prompt=sparse_prompt,
            dense_prompt=dense_prompt,
            position=self.prompt_encoder.get_dense_pe(),
        )
