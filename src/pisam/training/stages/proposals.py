"""Objects that SAM itself proposes: a decoder trained on them as well does not forget SAM.

Any picture has them, labelled or not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pisam.core.seeding import derive_seed
from pisam.core.types import Batch
from pisam.data.transforms import box_of
from pisam.modeling.pisam import PiSam

POINTS = 6  # asked about, of which one is taken
GOOD = 0.85  # SAM's own estimate of its IoU above which any of them may be taken
AREAS = (0.003, 0.7)  # of the frame's content
SURE = 3.0  # SAM's logits nearer to zero than that say where its mask is coarse


@torch.no_grad()
def with_proposals(model: PiSam, batch: Batch, encoded: tuple[Tensor, Tensor], share: float) -> Batch:
    """The batch with some of its masks, boxes and prompts exchanged for SAM's proposals.

    Args:
        model: its frozen SAM proposes.
        batch: of training.
        encoded: image embeddings and early features of the batch.
        share: of the samples that are exchanged, each with this probability.

    Returns:
        the batch; where SAM is not sure of a proposal, its pixels are ignored.
    """
    mask, box = batch.mask.clone(), batch.box.clone()
    ignored = torch.zeros_like(mask) if batch.ignored is None else batch.ignored.clone()
    kinds = None if batch.prompts is None else list(batch.prompts.kinds)
    for row, seed in enumerate(batch.seeds):
        rng = np.random.default_rng(derive_seed(seed, "proposal"))
        if rng.random() >= share:
            continue
        logits = _propose(model, encoded[0][[row]], batch.extent[row], rng)
        if logits is None:
            continue
        mask[row], ignored[row] = logits > 0, logits.abs() <= SURE
        box[row] = torch.from_numpy(box_of(mask[row, 0].cpu().numpy())).to(box)
        if kinds is not None:
            kinds[row] = "box"
    prompts = None if kinds is None or batch.prompts is None else replace(batch.prompts, kinds=kinds)
    return replace(batch, mask=mask, box=box, prompts=prompts, ignored=ignored)


def _propose(model: PiSam, embedding: Tensor, extent: Tensor, rng: np.random.Generator) -> Tensor | None:
    """Logits (1, S, S) of one of SAM's answers to single points on an image, -1 beyond its content."""
    sam, encoder = model.decoder.sam_decoder, model.encoder.prompt_encoder
    width, height = (int(side) for side in extent.tolist())
    points = torch.from_numpy(rng.uniform(0, (width, height), size=(POINTS, 1, 2)).astype(np.float32))
    ones = torch.ones(POINTS, 1, dtype=torch.int64, device=embedding.device)
    sparse, dense = encoder(points=(points.to(embedding.device), ones), boxes=None, masks=None)
    masks, quality = sam(
        image_embeddings=embedding,
        image_pe=encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    size = model.image_size
    cells = masks.shape[-1]
    inside = masks.new_zeros(cells, cells)
    inside[: -(-height * cells // size), : -(-width * cells // size)] = 1
    area = ((masks > 0) * inside).sum(dim=(2, 3)) / inside.sum()
    quality = quality.masked_fill((area < AREAS[0]) | (area > AREAS[1]), -1).flatten()
    good = (quality > GOOD).nonzero()[:, 0]
    chosen = int(good[rng.integers(len(good))]) if len(good) else int(quality.argmax())
    if quality[chosen] < 0:
        return None
    logits = F.interpolate(
        masks.flatten(0, 1)[chosen][None, None], (size, size), mode="bilinear", align_corners=False
    )[0]
    logits[:, height:], logits[:, :, width:] = -1, -1
    return logits if (logits > 0).any() else None
