"""Segmenters whose answers are known, and pictures to ask them about."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from helpers.small_runs import small_model
from pisam.core.types import Batch, Clicks
from pisam.evaluation.interaction.controls import near_clicks
from pisam.evaluation.interaction.models import as_answer
from pisam.modeling.segmenters import EncodedImage, Segmenter, State
from pisam.predictor.session import Answer

SIDE = 64


class Paints:
    """Answers the box with given logits, and each click with a disc of its label around it.

    Args:
        name: of the model.
        mask: bool (1, 1, S, S), its answer to the box.
        radius: of the discs, in pixels of the frame; 0 ignores all clicks.
    """

    model = small_model()  # never asked

    def __init__(self, name: str, mask: Tensor, radius: float = 6) -> None:
        self.name, self.logits, self.radius = name, mask.float() * 10 - 5, radius
        self.told: list[list[tuple[float, ...]]] = []

    def first(self, image: Tensor, box: Tensor, encoded: EncodedImage | None = None) -> State:
        nothing = torch.zeros(0)
        return State(self.logits, self.logits, EncodedImage(image, nothing, nothing, nn.Identity()), box)

    def after(self, state: State, clicks: Clicks) -> State:
        points, labels = clicks.points[0][clicks.valid[0]], clicks.labels[0][clicks.valid[0]]
        self.told.append([(*xy, label) for xy, label in zip(points.tolist(), labels.tolist(), strict=True)])
        painted = self.logits.clone()
        for point, label in zip(points, labels, strict=True):
            if self.radius:
                disc = torch.from_numpy(near_clicks([point.tolist()], self.logits.shape[-2:], self.radius))
                painted[0, 0][disc] = 5.0 if label == 1 else -5.0
        return replace(state, logits=painted)


def answer_of(segmenter: Segmenter, batch: Batch, *, guarantee: bool = False) -> Answer:
    """A segmenter's answer to the box of a batch of one."""
    state = segmenter.first(batch.image, batch.box)
    return as_answer(segmenter, state, batch, guarantee=guarantee)


def rectangle(left: int, top: int, right: int, bottom: int) -> Tensor:
    """bool (1, 1, S, S)."""
    mask = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    mask[..., top:bottom, left:right] = True
    return mask


def batch_of(mask: Tensor, stretch: tuple[int, int] = (1, 1), image: str = "image") -> Batch:
    """One sample whose original is larger than its frame, by `stretch` in x and y."""
    original = mask[0, 0].repeat_interleave(stretch[0], dim=1).repeat_interleave(stretch[1], dim=0)
    return Batch(
        image=torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8),
        mask=mask,
        box=torch.tensor([[0.0, 0.0, SIDE, SIDE]]),
        extent=torch.tensor([[float(SIDE), float(SIDE)]]),
        ids=[image],
        sets=["set"],
        seeds=[1],
        original_masks=[original],
    )


MASK = rectangle(8, 8, 56, 56)
