"""Coherent regions: proposed by SAM as objects, or added to targets and taken away from them.

Any picture has SAM's proposals, labelled or not, and a decoder trained on them as well does not forget SAM.
A target is altered by what a watershed gives around one of many random seeds: its edges are the picture's. It
is made to be wrong as a whole, whatever the labels say of it, so the click alone tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pisam.core.seeding import derive_seed
from pisam.core.types import Batch, Clicks
from pisam.data.reading.reader import BoolArray, UInt8Array
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


SEEDS = (40, 600)  # of a watershed: at most and at least a few dozen pixels across at S = 512


def alter_targets(batch: Batch, predicted: Tensor, taken: Clicks, share: float) -> tuple[Tensor, Tensor]:
    """Masks with a region turned over against the prediction in some samples.

    Args:
        batch: of training.
        predicted: bool (B, 1, S, S), the mask to be clicked.
        taken: clicks made before; a region with one of them stays as it is.
        share: of the samples that are altered, each with this probability.

    Returns:
        the masks, and the regions that were turned, both bool (B, 1, S, S).
    """
    masks, regions = batch.mask.clone(), torch.zeros_like(batch.mask)
    shown = batch.counted()
    for row, seed in enumerate(batch.seeds):
        rng = np.random.default_rng(derive_seed(seed, "region"))
        if rng.random() >= share:
            continue
        width, height = (int(side) for side in batch.extent[row].tolist())
        image = batch.image[row, :, :height, :width].permute(1, 2, 0).contiguous().cpu().numpy()
        place = _near(batch.box[row].tolist(), (width, height), rng)
        region = torch.zeros_like(masks[row, 0])
        found = torch.from_numpy(region_at(image, place, rng))
        region[:height, :width] = found.to(region.device)
        region &= shown[row, 0]
        x, y = taken.points[row][taken.valid[row]].long().clamp(0, len(region) - 1).unbind(dim=1)
        if not region.any() or region[y, x].any():
            continue
        masks[row, 0][region] = ~(predicted[row, 0][region].float().mean() > 0.5)
        regions[row, 0] = region & (masks[row, 0] != predicted[row, 0])
    return masks, regions


def region_at(image: UInt8Array, place: Sequence[int], rng: np.random.Generator) -> BoolArray:
    """The region (H, W) of a random watershed of an image (H, W, 3) that holds a place (x, y)."""
    height, width = image.shape[:2]
    x, y = place
    markers = np.zeros((height, width), np.int32)
    count = int(rng.integers(*SEEDS, endpoint=True))
    markers[rng.integers(height, size=count), rng.integers(width, size=count)] = np.arange(2, count + 2)
    markers[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 1
    labels = cv2.watershed(cv2.GaussianBlur(image, (0, 0), 1.5), markers)
    grown = cv2.dilate((labels == 1).astype(np.uint8), np.ones((3, 3), np.uint8))  # watersheds are no region
    return np.asarray(grown > 0)


def _near(box: Sequence[float], extent: tuple[int, int], rng: np.random.Generator) -> list[int]:
    """A pixel in a box or around it, by a tenth of its sides, within the content."""
    x0, y0, x1, y1 = box
    margins = (x1 - x0) / 10, (y1 - y0) / 10
    point = rng.uniform([x0 - margins[0], y0 - margins[1]], [x1 + margins[0], y1 + margins[1]])
    return [int(np.clip(value, 0, side - 1)) for value, side in zip(point, extent, strict=True)]
