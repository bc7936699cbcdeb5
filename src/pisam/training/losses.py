"""Binary cross-entropy and Dice of mask logits, at points drawn for each mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pisam.core.seeding import derive_seed
from pisam.core.types import Clicks
from pisam.training.loss_points import NUM_POINTS, SPREAD, sample_content, sample_near, sample_points


class MaskLoss(NamedTuple):
    """The two terms of each mask, not yet averaged over masks or weighted."""

    bce: Tensor  # float32 (B,), binary cross-entropy, mean over the points
    dice: Tensor  # float32 (B,), 1 - Dice over the points, in [0, 1]


def mask_loss(
    logits: Tensor,
    mask: Tensor,
    extent: Tensor,
    seeds: Sequence[int],
    purpose: str,
    *,
    num_points: int = NUM_POINTS,
    clicks: Clicks | None = None,
    near_clicks: float = 0.0,
    spreads: Sequence[float] = (SPREAD,),
    ignored: Tensor | None = None,
) -> MaskLoss:
    """Loss of mask logits of any resolution against the full-resolution mask, in float32 under autocast too.

    The mask is sampled bilinearly at the points, so no label is ever downscaled. Neither the logits nor the
    labels of the padding reach the loss: its gradient is exactly zero.

    Args:
        logits: float (B, 1, h, h), a map of the whole S x S frame, positive = object.
        mask: bool (B, 1, S, S).
        extent: (B, 2), (width, height) in pixels of the image content in the S x S frame, above zero.
        seeds: B integers; a mask's points depend on its own seed, `purpose` and clicks alone.
        purpose: name of the logit map ("low_res", "high_res"): each map gets points of its own.
        num_points: points per mask.
        clicks: in pixels of the frame; read only for points near them.
        near_clicks: share of the points that is drawn around `clicks`, in [0, 1].
        spreads: of the points around the clicks, see `sample_near`.
        ignored: bool (B, 1, S, S), pixels that say nothing: points that touch one weigh nothing. A mask whose
            points all do has a loss of 0.

    Raises:
        ValueError: shapes or the number of seeds disagree, the mask is not bool, or there are no clicks to be
            near to.
    """
    batch_size, side = mask.shape[0], mask.shape[-1]
    if mask.dtype != torch.bool or mask.shape != (batch_size, 1, side, side):
        raise ValueError(f"mask: expected bool (B, 1, S, S), got {mask.dtype} {tuple(mask.shape)}")
    if logits.shape != (batch_size, 1, logits.shape[-1], logits.shape[-1]):
        raise ValueError(f"logits: expected ({batch_size}, 1, h, h), got {tuple(logits.shape)}")

    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.float()
        own_seeds = [derive_seed(seed, "loss points", purpose) for seed in seeds]
        near = int(near_clicks * num_points)
        points = sample_points(logits, extent, side, own_seeds, num_points=num_points - near, ignored=ignored)
        if near:
            if clicks is None:
                raise ValueError(f"near_clicks: got {near_clicks}, but no clicks")
            own_seeds = [derive_seed(seed, "loss points", "near clicks") for seed in seeds]
            around = sample_near(clicks, extent, side, own_seeds, num_points=near, spreads=spreads)
            points = torch.cat([points, around], dim=1)
        predicted = sample_content(logits, points, extent, side)
        wanted = sample_content(mask.float(), points, extent, side)
        if ignored is None:
            return MaskLoss(bce=_bce(predicted, wanted).mean(dim=1), dice=_dice(predicted.sigmoid(), wanted))
        counted = (sample_content(ignored.float(), points, extent, side) == 0).float()
        bce = (_bce(predicted, wanted) * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
        return MaskLoss(bce=bce, dice=_dice(predicted.sigmoid() * counted, wanted * counted))


def loss_at_clicks(logits: Tensor, clicks: Clicks, inside: Tensor) -> Tensor:
    """Binary cross-entropy (B,) at the clicked pixels themselves, whose labels are certain; 0 without any.

    Args:
        logits: float (B, 1, h, h).
        clicks: in pixels of the logits.
        inside: bool (B, M), False for clicks that lie elsewhere.
    """
    with torch.autocast(logits.device.type, enabled=False):
        side = logits.shape[-1]
        x, y = clicks.points.long().clamp(0, side - 1).unbind(dim=2)
        at = logits.float().flatten(1).gather(1, y * side + x)
        weight = (clicks.valid & inside).float()
        return (weight * _bce(at, clicks.labels.float())).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def _bce(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy (B, N) of logits and target in [0, 1], (B, N) each."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def _dice(probability: Tensor, target: Tensor) -> Tensor:
    """Dice loss (B,) of (B, N) each, in [0, 1]; the +1 keeps an empty target defined."""
    overlap = (probability * target).sum(dim=1)
    return 1 - (2 * overlap + 1) / (probability.sum(dim=1) + target.sum(dim=1) + 1)
