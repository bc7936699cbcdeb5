"""Clicks of a simulated user on the errors of a batch of masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pisam.clicks.inspection import (
    check_connectivity,
    check_maps,
    check_margin,
    check_policy,
    check_seeds,
    error_maps,
)
from pisam.clicks.policies import POLICIES, disturb
from pisam.core.checks import check_number
from pisam.core.types import Clicks


def simulate_clicks(
    prediction: Tensor,
    mask: Tensor,
    *,
    seeds: Sequence[int],
    policy: str = "paper",
    max_clicks: int = 10,
    min_area: int = 8,
    margin: float = 0.25,
    connectivity: int = 8,
    region: Tensor | None = None,
    noise: float = 0.0,
) -> Clicks:
    """Click where a user would who sees the errors of `prediction`.

    The clicks of a sample depend on its maps and its seed alone: not on its batch, device, worker or rank.
    For several rounds of interaction call again with the new prediction and new seeds; earlier clicks exclude
    nothing.

    Policies:

    - `paper`: random points in the interior of every component (supplement B, C of the Pi-SAM paper).
    - `released`: one point in each component that a 3x3 erosion leaves with 2 pixels or more, largest first
      (the released training code, in correct coordinates).
    - `centre`: one click, the deepest pixel of the largest component (number-of-clicks benchmarks, as RITM).
    - `ritm`: one click, the deepest pixel of the whole error, missed and false measured apart (RITM's own
      clicker; `policies.deepest_click` also knows earlier clicks).
    - `human`: one click near where people would place that one (`policies.human_click`, after RClicks).
    - `uniform`: different pixels of the error, each as likely as any other (SAM 2's training).
    - `noisy`: as `paper`, then a share `noise` of the clicks is spoilt, half of them moved anywhere in the
      image, half given the wrong label.

    Args:
        prediction: (B, 1, H, W) float logits, positive = object, or bool.
        mask: bool (B, 1, H, W), the truth.
        seeds: B integers >= 0, one per sample.
        policy: one of the above.
        max_clicks: M >= 1, the number of rows returned per sample.
        min_area: smallest component that is clicked, in pixels of the frame (`paper`, `noisy`).
        margin: the boundary portion that is removed from a component (`paper`, `noisy`): the pixels whose
            distance to its edge is at most this share of the largest such distance, 0 <= margin < 1. The
            deepest pixel always stays, so the thinnest component can be clicked. What lies beyond the image's
            border counts as outside.
        connectivity: 8 joins pixels that touch at a corner, 4 does not. Missed and false foreground never
            join.
        region: bool (B, 1, H, W), the error to draw from in place of prediction xor mask; the label of a
            click on it is the mask's value there.
        noise: share of the clicks that is spoilt, 0 <= noise <= 1 (`noisy`).

    Returns:
        Clicks on the device of `prediction`, M rows per sample, valid ones first, in the order of clicking.

    Raises:
        ValueError: an argument is not as described above, or a logit is NaN.
    """
    check_maps(prediction, mask, region)
    seeds = check_seeds(seeds, len(prediction))
    check_policy(policy, noise)
    check_number("max_clicks", max_clicks, 1, whole=True)
    check_number("min_area", min_area, 1, whole=True)
    check_margin(margin)
    check_connectivity(connectivity)

    rows = np.zeros((len(prediction), max_clicks, 4), np.float32)  # x, y, label, valid
    for row, errors, seed in zip(rows, error_maps(prediction, mask, region), seeds, strict=True):
        rng = np.random.Generator(np.random.PCG64(seed))
        pixels = POLICIES["paper" if policy == "noisy" else policy](
            errors, rng, max_clicks=max_clicks, min_area=min_area, margin=margin, connectivity=connectivity
        )
        if policy == "noisy":
            pixels = disturb(pixels, errors.shape, rng, noise)
        row[: len(pixels), :2] = pixels[:, :2] + 0.5
        row[: len(pixels), 2] = pixels[:, 2]
        row[: len(pixels), 3] = 1

    on_device = torch.from_numpy(rows).to(prediction.device, non_blocking=True)
    return Clicks(
        points=on_device[..., :2].contiguous(), labels=on_device[..., 2].long(), valid=on_device[..., 3] > 0
    )
