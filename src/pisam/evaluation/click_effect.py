"""What clicks change in a mask, and whether it is the clicks' meaning that does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pisam.clicks import simulate_clicks
from pisam.evaluation.rows import Row
from pisam.metrics.functional import binarise, boundary_iou, iou
from pisam.metrics.protocol import logits_to_original
from pisam.modeling.pisam import PiSam
from pisam.seeding import derive_seed
from pisam.types import Batch, Clicks

ROUNDS = 3  # different clicks on each image
NEAR = 10.0  # pixels of the original image


@torch.inference_mode()
def click_effect(
    model: PiSam, batches: Iterable[Batch], *, seed: int, simulation: Mapping[str, Any]
) -> tuple[list[Row], bool]:
    """Click on the errors of each straight-forward mask, `ROUNDS` times, and compare before and after.

    Clicks are drawn in the network frame, as in training; masks are scored at original size. Three controls
    use the same image: the clicks with their labels exchanged; as many clicks with the same labels, anywhere
    in the frame; and the gain without the pixels within `NEAR` of a click.

    Args:
        model: with a trained interactor, in evaluation mode.
        batches: of one validation sample each, on the model's device.
        seed: of the run; clicks are a function of (seed, round, set, image).
        simulation: arguments of `simulate_clicks`.

    Returns:
        a row per image and round: `set`, `image`, `seed` (the round), `clicks` (their number), `iou_` and
        `biou_` `before`, `after`, `gain`; `iou_gain_flipped`, `iou_gain_random`, `iou_gain_away`;
        `clicked_flipped`, the share of clicks whose pixel of the frame has their label afterwards (NaN for no
        clicks); `collateral`, the share of the pixels farther than `NEAR` from all clicks and right before
        that are wrong after. And whether all logits stayed equal, bit by bit, when all clicks were removed.

    Raises:
        ValueError: a batch of several samples.
    """
    rows: list[Row] = []
    unclicked_equal = True
    for batch in batches:
        if len(batch) != 1:
            raise ValueError(f"expected batches of one image, got {len(batch)}")
        image_rows, equal = _click_on_image(model, batch, seed, simulation)
        rows += image_rows
        unclicked_equal &= equal
    return rows, unclicked_equal


def near_clicks(points: Tensor, size: Sequence[int], distance: float = NEAR) -> Tensor:
    """bool (H, W): the pixels whose centre is within `distance` of one of the points.

    Args:
        points: (N, 2), (x, y) in pixels of the H x W image, N may be 0.
        size: (H, W).
        distance: in pixels.
    """
    height, width = size
    xs = torch.arange(width, device=points.device) + 0.5
    ys = torch.arange(height, device=points.device) + 0.5
    near = torch.zeros(height, width, dtype=torch.bool, device=points.device)
    for x, y in points:
        near |= (xs - x) ** 2 + ((ys - y) ** 2)[:, None] <= distance**2
    return near


def _click_on_image(
    model: PiSam, batch: Batch, seed: int, simulation: Mapping[str, Any]
) -> tuple[list[Row], bool]:
    objects, prediction = model.straight_forward(batch.image, batch.box)
    straight = prediction.high_res
    mask, set_name, image = batch.original_masks[0], batch.sets[0], batch.ids[0]
    height, width = mask.shape

    def after_clicks(clicks: Clicks) -> Tensor:
        return model.interact(objects, batch.image, clicks)

    def at_original(logits: Tensor) -> Tensor:
        return binarise(logits_to_original(logits, (height, width)))

    before = at_original(straight)
    iou_before, biou_before = float(iou(before, mask)), float(boundary_iou(before, mask))
    rows: list[Row] = []
    equal = True
    for round_ in range(ROUNDS):
        click_seed = derive_seed(seed, "interact", round_, set_name, image)
        clicks = simulate_clicks(straight > 0, batch.mask, seeds=[click_seed], **simulation)
        logits = after_clicks(clicks)
        after = at_original(logits)
        flipped = at_original(after_clicks(replace(clicks, labels=1 - clicks.labels)))
        elsewhere = at_original(after_clicks(_random_positions(clicks, straight.shape[-1], click_seed)))
        removed = replace(clicks, valid=torch.zeros_like(clicks.valid))
        equal &= torch.equal(after_clicks(removed), straight)

        away = ~near_clicks(_points_at_original(clicks, straight.shape, mask.shape), mask.shape)
        right_away = away & (before == mask)
        iou_after, biou_after = float(iou(after, mask)), float(boundary_iou(after, mask))
        rows.append(
            {
                "set": set_name,
                "image": image,
                "seed": round_,
                "clicks": int(clicks.valid.sum()),
                "iou_before": iou_before,
                "iou_after": iou_after,
                "iou_gain": iou_after - iou_before,
                "biou_before": biou_before,
                "biou_after": biou_after,
                "biou_gain": biou_after - biou_before,
                "iou_gain_flipped": float(iou(flipped, mask)) - iou_before,
                "iou_gain_random": float(iou(elsewhere, mask)) - iou_before,
                "iou_gain_away": float(iou(after & away, mask & away) - iou(before & away, mask & away)),
                "clicked_flipped": _share_obeyed(logits, clicks),
                "collateral": int((right_away & (after != mask)).sum()) / max(1, int(right_away.sum())),
            }
        )
    return rows, equal


def _random_positions(clicks: Clicks, side: int, seed: int) -> Clicks:
    rng = np.random.default_rng(derive_seed(seed, "random positions"))
    pixels = rng.integers(side, size=tuple(clicks.points.shape))
    return replace(clicks, points=torch.from_numpy(pixels + 0.5).to(clicks.points))


def _points_at_original(clicks: Clicks, frame: Sequence[int], size: Sequence[int]) -> Tensor:
    """The valid clicks (N, 2) of the only sample, from pixels of the frame to pixels of the image."""
    points = clicks.points[0][clicks.valid[0]]
    return points * points.new_tensor([size[1] / frame[-1], size[0] / frame[-2]])


def _share_obeyed(logits: Tensor, clicks: Clicks) -> float:
    """Share of the clicks whose pixel of the frame is what their label says; NaN without clicks."""
    valid = clicks.valid[0]
    x, y = clicks.points[0][valid].long().unbind(dim=1)
    obeyed = (logits[0, 0, y, x] > 0) == clicks.labels[0][valid].bool()
    return float(obeyed.float().mean())
