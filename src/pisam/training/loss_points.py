"""Points of the loss: drawn where the prediction is uncertain, and around clicks.

Importance sampling of PointRend (Kirillov et al., CVPR 2020), with the numbers of Mask2Former's recipe.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pisam.core.geometry import pixels_to_unit, sample_at
from pisam.core.types import Clicks

NUM_POINTS = 112 * 112
OVERSAMPLE = 3  # candidates per point
SPREAD = 1 / 32  # of the frame's side: standard deviation of the points around a click


@torch.no_grad()
def sample_points(
    logits: Tensor,
    extent: Tensor,
    side: int,
    seeds: Sequence[int],
    *,
    num_points: int = NUM_POINTS,
    importance: float = 0.75,
    ignored: Tensor | None = None,
) -> Tensor:
    """Points inside the image content, most of them where the logits are nearest to zero.

    Per mask, `OVERSAMPLE * num_points` uniform candidates are drawn and the `importance * num_points` most
    uncertain of them kept; the rest of the points are fresh uniform ones. No gradient.

    Args:
        logits: float (B, 1, h, h), a map of the whole square frame.
        extent: (B, 2), (width, height) in pixels of the image content in that frame.
        side: side S of the frame in pixels.
        seeds: B integers, each the only source of randomness of its mask, on any device and rank.
        num_points: points per mask, N.
        importance: share of the points chosen by uncertainty, in [0, 1].
        ignored: bool (B, 1, S, S), pixels that are never chosen by uncertainty while there are others.

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
    num_candidates = OVERSAMPLE * num_points
    num_important = int(importance * num_points)
    num_drawn = num_candidates + num_points - num_important

    # Drawn on the CPU: the generators of other devices give other numbers for the same seed. Pinned, for else
    # the copy waits for the card.
    drawn = torch.empty(batch_size, num_drawn, 2, pin_memory=logits.is_cuda)
    for own, seed in zip(drawn, seeds, strict=True):
        torch.rand(num_drawn, 2, generator=torch.Generator().manual_seed(seed), out=own)
    drawn = drawn.to(logits.device, non_blocking=True) * (extent.float() / side).unsqueeze(1)

    candidates, fresh = drawn.split([num_candidates, num_drawn - num_candidates], dim=1)
    certainty = sample_content(logits.float(), candidates, extent, side).abs()
    if ignored is not None:
        certainty[sample_content(ignored.float(), candidates, extent, side) > 0] = torch.inf
    chosen = certainty.topk(num_important, dim=1, largest=False, sorted=False).indices
    important = candidates.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))
    return torch.cat([important, fresh], dim=1)


@torch.no_grad()
def sample_near(
    clicks: Clicks,
    extent: Tensor,
    side: int,
    seeds: Sequence[int],
    *,
    num_points: int,
    spreads: Sequence[float] = (SPREAD,),
) -> Tensor:
    """Points around the clicks of each mask: normal, with deviations `spreads`, kept inside the content.

    Right and wrong pixels are drawn alike, so the probability that the loss teaches for each stays true.

    Args:
        clicks: of B masks, in pixels of the frame; each valid one is as likely as any other. A mask without
            any gets points of no meaning, around the frame's corner.
        extent: (B, 2), (width, height) in pixels of the image content in that frame.
        side: side S of the frame in pixels.
        seeds: B integers, each the only source of randomness of its mask, on any device and rank.
        num_points: points per mask, N.
        spreads: standard deviations as shares of the side, one after the other in equal numbers.

    Returns:
        float32 (B, N, 2), (x, y) unit coordinates of the frame, on the device of `extent`.
    """
    clicked = pixels_to_unit(clicks.points.cpu(), side, side)
    deviation = torch.tensor(spreads).repeat(-(-num_points // len(spreads)))[:num_points, None]
    drawn = []
    for points, valid, seed in zip(clicked, clicks.valid.cpu(), seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        centres = points[valid] if valid.any() else points.new_zeros(1, 2)
        chosen = torch.randint(len(centres), (num_points,), generator=generator)
        drawn.append(centres[chosen] + deviation * torch.randn(num_points, 2, generator=generator))
    inside = (extent.float() / side).unsqueeze(1)
    return torch.minimum(torch.stack(drawn).to(extent.device).clamp(min=0), inside)


def sample_content(maps: Tensor, points: Tensor, extent: Tensor, side: int) -> Tensor:
    """Bilinear values (B, N) of maps (B, 1, h, h); the outermost cells of the content go on to its edge.

    Mixing with zero there, as `sample_at` alone does, would charge every object that touches the border.
    """
    cells = maps.shape[-1]
    # A thousandth of a cell short of the last centre: rounding must not reach into the padding.
    last = (extent * cells / side).ceil() - 0.501
    inside = torch.minimum((points * cells).clamp(min=0.5), last.unsqueeze(1))
    return sample_at(maps, inside / cells).squeeze(-1)
