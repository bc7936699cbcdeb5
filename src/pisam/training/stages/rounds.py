"""Prompts of stage 1 as they come in use: a box, then clicks on what is still wrong, round after round.

The rounds before the last need no more than the low-resolution logits, which cost a tenth of a whole answer.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    clicking = {row: user for row, seed in enumerate(batch.seeds) if (user := _User.drawn(seed, most))}
    for number in range(most):
        clicking = {row: user for row, user in clicking.items() if number < user.rounds}
        if not clicking:
            break
        rows = list(clicking)
        embedding, early = (each[rows] for each in encoded)
        features = model.encoder.prompt(embedding, early, batch.box[rows], prompts.select(rows))
        _, _, logits = model.decoder.low_res(features)
        answers = F.interpolate(logits, batch.mask.shape[-2:], mode="bilinear", align_corners=False) > 0
        answers &= batch.counted()[rows]
        answered: dict[int, tuple[Clicks, Tensor]] = {}
        for (row, user), answer, low_res in zip(clicking.items(), answers, logits, strict=True):
            new = simulate_clicks(
                answer[None],
                batch.mask[[row]],
                seeds=[derive_seed(batch.seeds[row], "clicks", number)],
                policy=user.policy(),
                max_clicks=user.most,
            )
            if new.valid.any():
                answered[row] = new, low_res
        if not answered:
            break
        clicking = {row: clicking[row] for row in answered}
        prompts = _asked_again(prompts, answered)
    return prompts


@dataclass
class _User:
    """Simulated user of a sample, who clicks in `rounds` rounds, up to `most` times in each."""

    rng: np.random.Generator
    rounds: int
    most: int  # clicks in a round
    at_once: bool

    @classmethod
    def drawn(cls, seed: int, most: int) -> _User | None:
        """Draw the user of a sample; None for one that is content with the first answer."""
        rng = np.random.default_rng(derive_seed(seed, "rounds"))
        kind, rounds = rng.random(), int(rng.integers(1, most, endpoint=True))
        if kind < BOX_ALONE:
            return None
        if kind < BOX_ALONE + AT_ONCE:
            return cls(rng, 1, int(rng.integers(1, MOST_AT_ONCE, endpoint=True)), at_once=True)
        return cls(rng, rounds, 1, at_once=False)

    def policy(self) -> str:
        """Draw the policy of the next clicks."""
        return "paper" if self.at_once or self.rng.random() < 0.5 else "centre"


def no_prompts(batch: Batch) -> Prompts:
    """Prompts that are the boxes alone."""
    side = batch.mask.shape[-1] // 4
    blank = batch.box.new_zeros(len(batch), 1, side, side)
    return Prompts(["box"] * len(batch), Clicks.none(len(batch), batch.box.device), blank)


def _asked_again(prompts: Prompts, answers: dict[int, tuple[Clicks, Tensor]]) -> Prompts:
    """The prompts with more clicks and a newer mask in some of the rows."""
    before = prompts.points.valid.shape[1]
    kinds, mask = list(prompts.kinds), prompts.mask.clone()
    clicks = prompts.points.padded(before + max(new.valid.shape[1] for new, _ in answers.values()))
    for row, (new, logits) in answers.items():
        if kinds[row] != AGAIN:  # points in place of a box are none of the user's clicks
            clicks.valid[row] = False
        places = slice(before, before + new.valid.shape[1])
        for theirs, ours in zip(vars(clicks).values(), vars(new).values(), strict=True):
            theirs[row, places] = ours[0]
        kinds[row], mask[row] = AGAIN, logits
    return Prompts(kinds, clicks, mask)
