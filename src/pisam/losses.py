"""Binary cross-entropy and Dice at points drawn where the prediction is uncertain.

Importance sampling of PointRend (Kirillov et al., CVPR 2020), with the numbers of Mask2Former's recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pisam.geometry import sample_at
from pisam.seeding import derive_seed

NUM_POINTS = 112 * 112


class MaskLoss(NamedTuple):
    """The two terms of each mask, not yet averaged over masks or weighted.

    Attributes:
        bce: float32 (B,), binary cross-entropy, mean over the points.
        dice: float32 (B,), 1 - Dice over the points, in [0, 1].
    """

    bce: Tensor
    dice: Tensor


def mask_loss(
    logits: Tensor,
    mask: Tensor,
    extent: Tensor,
    seeds: Sequence[int],
    purpose: str,
    *,
    num_points: int = NUM_POINTS,
) -> MaskLoss:
    """Loss of mask logits of any resolution against the full-resolution mask, in float32 under autocast too.

    The mask is sampled bilinearly at the points, so no label is ever downscaled. Neither the logits nor the
    labels of the padding reach the loss: its gradient is exactly zero.

    Args:
        logits: float (B, 1, h, h), a map of the whole S x S frame, positive = object.
        mask: bool (B, 1, S, S).
        extent: (B, 2), (width, height) in pixels of the image content in the S x S frame, above zero.
        seeds: B integers; a mask's points depend on its own seed and `purpose` alone.
        purpose: name of the logit map ("low_res", "high_res"): each map gets points of its own.
        num_points: points per mask.

    Raises:
        ValueError: shapes or the number of seeds disagree, or the mask is not bool.
    """
    batch_size, side = mask.shape[0], mask.shape[-1]
    if mask.dtype != torch.bool or mask.shape != (batch_size, 1, side, side):
        raise ValueError(f"mask: expected bool (B, 1, S, S), got {mask.dtype} {tuple(mask.shape)}")
    if logits.shape != (batch_size, 1, logits.shape[-1], logits.shape[-1]):
        raise ValueError(f"logits: expected ({batch_size}, 1, h, h), got {tuple(logits.shape)}")

    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.float()
        own_seeds = [derive_seed(seed, "loss points", purpose) for seed in seeds]
        points = sample_points(logits, extent, side, own_seeds, num_points=num_points)
        predicted = _sample_content(logits, points, extent, side)
        wanted = _sample_content(mask.float(), points, extent, side)
        return MaskLoss(bce=_bce(predicted, wanted), dice=_dice(predicted, wanted))


@torch.no_grad()
def sample_points(
    logits: Tensor,
    extent: Tensor,
    side: int,
    seeds: Sequence[int],
    *,
    num_points: int = NUM_POINTS,
    oversample: int = 3,
    importance: float = 0.75,
) -> Tensor:
    """Points inside the image content, most of them where the logits are nearest to zero.

    Per mask, `oversample * num_points` uniform candidates are drawn and the `importance * num_points` most
    uncertain of them kept; the rest of the points are fresh uniform ones. No gradient.

    Args:
        logits: float (B, 1, h, h), a map of the whole square frame.
        extent: (B, 2), (width, height) in pixels of the image content in that frame.
        side: side S of the frame in pixels.
        seeds: B integers, each the only source of randomness of its mask, on any device and rank.
        num_points: points per mask, N.
        oversample: candidates per point, >= 1.
        importance: share of the points chosen by uncertainty, in [0, 1].

    Returns:
        float32 (B, N, 2), (x, y) unit coordinates of the frame, on the device of the logits.

    Raises:
        ValueError: `extent` or `seeds` does not have one entry per mask.
    """
    batch_size = logits.shape[0]
    if len(seeds) != batch_size or extent.shape != (batch_size, 2):
        raise ValueError(
            f"expected extent ({batch_size}, 2) and {batch_size} seeds, one per mask, "
            f"got extent {tuple(extent.shape)} and {len(seeds)} seeds"
        )
    num_candidates = oversample * num_points
    num_important = int(importance * num_points)
    num_drawn = num_candidates + num_points - num_important

    # Drawn on the CPU: the generators of other devices give other numbers for the same seed.
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    drawn = torch.stack([torch.rand(num_drawn, 2, generator=generator) for generator in generators])
    drawn = drawn.to(logits.device) * (extent.float() / side).unsqueeze(1)

    candidates, fresh = drawn.split([num_candidates, num_drawn - num_candidates], dim=1)
    certainty = _sample_content(logits.float(), candidates, extent, side).abs()
    chosen = certainty.topk(num_important, dim=1, largest=False, sorted=False).indices
    important = candidates.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))
    return torch.cat([important, fresh], dim=1)


def _sample_content(maps: Tensor, points: Tensor, extent: Tensor, side: int) -> Tensor:
    """Bilinear values (B, N) of maps (B, 1, h, h); the outermost cells of the content go on to its edge.

    Mixing with zero there, as `sample_at` alone does, would charge every object that touches the border.
    """
    cells = maps.shape[-1]
    # A thousandth of a cell short of the last centre: rounding must not reach into the padding.
    last = (extent * cells / side).ceil() - 0.501
    inside = torch.minimum((points * cells).clamp(min=0.5), last.unsqueeze(1))
    return sample_at(maps, inside / cells).squeeze(-1)


def _bce(logits: Tensor, target: Tensor) -> Tensor:
    """(B, N) logits and target in [0, 1] -> (B,)."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)


def _dice(logits: Tensor, target: Tensor) -> Tensor:
    """(B, N) logits and target in [0, 1] -> (B,); the +1 keeps an empty target defined."""
    probability = logits.sigmoid()
    overlap = (probability * target).sum(dim=1)
    return 1 - (2 * overlap + 1) / (probability.sum(dim=1) + target.sum(dim=1) + 1)
