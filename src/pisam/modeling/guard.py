"""A guard: SAM's mask stands where the decoder's is of something else, on pictures unlike those of training.

A few hundred pictures teach a decoder what SAM does not know of them, and also to go by what no other picture
has, such as the colours of leaves: a cat is no object then, and no click brings it back.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pisam.core.types import ALIKE

CAPACITY = 256  # of pictures that are kept
USUAL = 0.05  # share of them that may be less like their nearest than a picture has to be


class Guard(nn.Module):
    """Keeps what the early features of the first training views are like, in their mean over the view.

    A picture is familiar if it is as like one of them as 95 % of them are like another; without any, each is.

    Args:
        dim: channels D of the early encoder feature.
    """

    known: Tensor
    least: Tensor
    count: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("known", torch.zeros(CAPACITY, dim, dtype=torch.float16))  # of unit length
        self.register_buffer("least", torch.tensor(-1.0))  # cosine likeness of a familiar picture
        self.register_buffer("count", torch.tensor(0))
        self._full = False  # so that no step waits for the device to tell `count`

    def forward(self, early: Tensor) -> Tensor:
        """1.0 for familiar pictures, else 0.0, float (B,); `early` float (B, D, E, E), of whole pictures."""
        unit = F.normalize(early.float().mean(dim=(2, 3)), dim=1)
        return ((unit @ self.known.float().T).amax(dim=1) >= self.least).float()

    @torch.no_grad()
    def remember(self, early: Tensor, content: Tensor) -> None:
        """Keep views of training until there are enough.

        Args:
            early: float (B, D, E, E).
            content: float (B, 2), width and height of what is no padding, as shares of the frame.
        """
        if self._full:
            return
        side, start = early.shape[-1], int(self.count)
        free = len(self.known) - start
        self._full = free <= len(early)
        if not free:
            return
        cells = (content * side).ceil().int().tolist()
        means = [
            one[:, :high, :wide].float().mean(dim=(1, 2))
            for one, (wide, high) in zip(early, cells, strict=True)
        ]
        new = F.normalize(torch.stack(means[:free]), dim=1)
        self.known[start : start + len(new)] = new.to(self.known)
        self.count += len(new)
        kept = self.known[: start + len(new)].float()
        if len(kept) > 1:
            nearest = (kept @ kept.T).fill_diagonal_(-1).amax(dim=1)
            self.least.copy_(nearest.quantile(USUAL))


def guarded(answer: Tensor, before: Tensor, familiar: Tensor | None) -> Tensor:
    """The logits that count: those before, where the picture is strange and the answer of something else.

    Args:
        answer: float (B, 1, H, W), what our decoder or its head makes of the logits before.
        before: float (B, 1, H, W).
        familiar: float (B,) of a `Guard`; None = no guard, and the answer counts.
    """
    if familiar is None:
        return answer
    ours, theirs = answer > 0, before > 0
    overlap, union = (area.sum(dim=(1, 2, 3)) for area in (ours & theirs, ours | theirs))
    believed = (familiar > 0) | (overlap >= ALIKE * union)
    return answer.where(believed[:, None, None, None], before)
