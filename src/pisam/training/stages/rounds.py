"""Prompts of stage 1 as they come in use: a box, then clicks on what is still wrong, round after round.

The rounds before the last need no more than the low-resolution logits, which cost a tenth of a whole answer.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pisam.clicks.simulate import simulate_clicks
from pisam.core.seeding import derive_seed
from pisam.core.types import AGAIN, Batch, Clicks, Prompts
from pisam.modeling.pisam import PiSam

BOX_ALONE = 0.35  # share of the samples that are trained on the answer to their first prompt
AT_ONCE = 0.25  # share with up to ten clicks in one round; the others get one click a round
MOST_AT_ONCE = 10


@torch.no_grad()
def prompts_after_rounds(model: PiSam, batch: Batch, encoded: tuple[Tensor, Tensor], most: int) -> Prompts:
    """Prompts for SAM after simulated rounds of clicks, drawn per sample.

    Args:
        model: its decoder answers; its interactor takes no part.
        batch: the masks that are wanted, first prompts and seeds.
        encoded: image embeddings and early features of the batch.
        most: rounds, from 1 on.
    """
    prompts = batch.prompts or no_prompts(batch)
    for row, seed in enumerate(batch.seeds):
        rng = np.random.default_rng(derive_seed(seed, "rounds"))
        kind, rounds = rng.random(), int(rng.integers(1, most, endpoint=True))
        if kind < BOX_ALONE:
            continue
        at_once = kind < BOX_ALONE + AT_ONCE
        count = int(rng.integers(1, MOST_AT_ONCE, endpoint=True)) if at_once else 1
        for number in range(1 if at_once else rounds):
            one = [row]
            embedding, early = (each[one] for each in encoded)
            features = model.encoder.prompt(embedding, early, batch.box[one], prompts.select(one))
            _, _, logits = model.decoder.low_res(features)
            answer = F.interpolate(logits, batch.mask.shape[-2:], mode="bilinear", align_corners=False) > 0
            new = simulate_clicks(
                answer & batch.counted()[one],
                batch.mask[one],
                seeds=[derive_seed(seed, "clicks", number)],
                policy="paper" if at_once or rng.random() < 0.5 else "centre",
                max_clicks=count,
            )
            if not new.valid.any():
                break
            prompts = _asked_again(prompts, row, new, logits)
    return prompts


def no_prompts(batch: Batch) -> Prompts:
    """Prompts that are the boxes alone."""
    side = batch.mask.shape[-1] // 4
    blank = batch.box.new_zeros(len(batch), 1, side, side)
    return Prompts(["box"] * len(batch), Clicks.none(len(batch), batch.box.device), blank)


def _asked_again(prompts: Prompts, row: int, new: Clicks, logits: Tensor) -> Prompts:
    """The prompts with more clicks and a newer mask in one row."""
    kinds, mask = list(prompts.kinds), prompts.mask.clone()
    clicks = prompts.points.padded(prompts.points.valid.shape[1] + new.valid.shape[1])
    if kinds[row] != AGAIN:  # points in place of a box are none of the user's clicks
        clicks.valid[row] = False
    places = slice(prompts.points.valid.shape[1], None)
    for theirs, ours in zip(vars(clicks).values(), vars(new).values(), strict=True):
        theirs[row, places] = ours[0]
    kinds[row], mask[row] = AGAIN, logits[0]
    return Prompts(kinds, clicks, mask)
