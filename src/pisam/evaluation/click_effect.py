"""What clicks change in a mask, and whether it is the clicks' meaning that does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pisam.clicks import simulate_clicks
from pisam.evaluation.click_controls import (
    anywhere,
    collateral,
    exchanged,
    gain_away,
    near_clicks,
    share_obeyed,
)
from pisam.evaluation.rows import Row
from pisam.geometry import pixels_to_unit
from pisam.metrics.functional import binarise, boundary_iou, iou
from pisam.metrics.protocol import logits_to_original
from pisam.modeling.pisam import PiSam
from pisam.seeding import derive_seed
from pisam.types import Batch, Clicks

ROUNDS = 3  # different clicks on each image


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
        flipped = at_original(after_clicks(exchanged(clicks)))
        elsewhere = at_original(after_clicks(anywhere(clicks, straight.shape[-2:], click_seed)))
        removed = replace(clicks, valid=torch.zeros_like(clicks.valid))
        equal &= torch.equal(after_clicks(removed), straight)

        points = pixels_to_unit(clicks.points[0][clicks.valid[0]], *straight.shape[-2:])
        away = ~near_clicks(points * points.new_tensor([width, height]), mask.shape)
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
                "iou_gain_away": gain_away(before, after, mask, away),
                "clicked_flipped": share_obeyed(binarise(logits), clicks),
                "collateral": collateral(before, after, mask, away),
            }
        )
    return rows, equal
