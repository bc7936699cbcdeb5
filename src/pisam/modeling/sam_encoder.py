"""SAM's frozen encoders of an image and a prompt."""

from __future__ import annotations

from typing import cast

import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from pisam.core.geometry import sam_boxes
from pisam.core.types import Clicks, PromptKind, Prompts, SamFeatures


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
    def forward(self, image: Tensor, box: Tensor, prompts: Prompts | None = None) -> SamFeatures:
        """Encode.

        Args:
            image: float (B, 3, S, S), normalised.
            box: float (B, 4), xyxy edges in pixels of the frame, one per image.
            prompts: other prompts in place of boxes; None = the boxes.
        """
        image_embedding, early = self.image_encoder(image)
        return self.prompt(image_embedding, early, box, prompts)

    @torch.no_grad()
    def prompt(
        self, image_embedding: Tensor, early: Tensor, box: Tensor, prompts: Prompts | None = None
    ) -> SamFeatures:
        """Encode prompts for images that were encoded before.

        Args:
            image_embedding: float (B, 256, E, E), from the image encoder.
            early: float (B, D, E, E), from the image encoder.
            box: as in `forward`.
            prompts: as in `forward`.
        """
        lengths = ambiguous = None
        if prompts is None:
            sparse_prompt, dense_prompt = self.prompt_encoder(points=None, boxes=sam_boxes(box), masks=None)
        else:
            encoded = [self._encode_one(box[row : row + 1], prompts, row) for row in range(len(box))]
            lengths = [sparse.shape[1] for sparse, _ in encoded]
            sparse_prompt = pad_sequence([sparse[0] for sparse, _ in encoded], batch_first=True)
            dense_prompt = torch.cat([dense for _, dense in encoded])
            alone = torch.tensor([kind == "points" for kind in prompts.kinds], device=box.device)
            ambiguous = alone & (prompts.points.valid.sum(dim=1) == 1)
        return SamFeatures(
            image_embedding=image_embedding,
            early=early,
            sparse_prompt=sparse_prompt,
            dense_prompt=dense_prompt,
            position=self.prompt_encoder.get_dense_pe(),
            prompt_lengths=lengths,
            ambiguous=ambiguous,
        )

    def _encode_one(self, box: Tensor, prompts: Prompts, row: int) -> tuple[Tensor, Tensor]:
        """Tokens (1, N, 256) and dense prompt (1, 256, E, E) of one sample, in SAM's own words."""
        parts, points = prompts.kinds[row].split("+"), None
        if "points" in parts:
            valid = prompts.points.valid[row]
            # SAM adds 0.5 to the index of a pixel itself
            points = (prompts.points.points[row][valid] - 0.5)[None], prompts.points.labels[row][valid][None]
        return self.prompt_encoder(
            points=points,
            boxes=sam_boxes(box) if "box" in parts else None,
            masks=prompts.mask[row : row + 1] if "mask" in parts else None,
        )


def with_clicks(prompts: Prompts | None, clicks: Clicks, low_res: Tensor | None) -> Prompts:
    """The first prompts, and the clicks as SAM's points beside them.

    Args:
        prompts: given first; None = boxes.
        clicks: all so far, in pixels of the frame.
        low_res: float (B, 1, F, F), logits of the answer before as SAM's mask prompt; None for none.
    """
    kinds: list[PromptKind] = []
    for kind in ["box"] * len(clicks.valid) if prompts is None else prompts.kinds:
        given = {"points", *kind.split("+"), *([] if low_res is None else ["mask"])}
        kinds.append(cast(PromptKind, "+".join(part for part in ("box", "points", "mask") if part in given)))
    if prompts is None:
        return Prompts(kinds, clicks, clicks.points if low_res is None else low_res)
    return Prompts(
        kinds, Clicks.beside([prompts.points, clicks]), prompts.mask if low_res is None else low_res
    )
