"""What clicks change in a mask, and whether it is the clicks' meaning that does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pisam.clicks.simulate import simulate_clicks
from pisam.core.geometry import pixels_to_unit
from pisam.core.seeding import derive_seed
from pisam.core.types import Batch, Clicks
from pisam.evaluation.interaction.common_error import mask_at_original
from pisam.evaluation.interaction.controls import (
    anywhere,
    collateral,
    exchanged,
    gain_away,
    near_clicks,
    share_obeyed,
)
from pisam.evaluation.rows import Row
from pisam.metrics.functional import binarise
from pisam.metrics.known_mask import KnownMask
from pisam.metrics.region import region_scores
from pisam.modeling.pisam import PiSam
from pisam.modeling.segmenters import State

ROUNDS = 3  # different clicks on each image


def click_effect(
    model: PiSam, first: State, batch: Batch, *, seed: int, simulation: Mapping[str, Any]
) -> tuple[list[Row], bool]:
    """Click on the errors of a straight-forward mask, `ROUNDS` times, and compare before and after.

    Clicks are drawn in the network frame, as in training; masks are scored at original size. Three controls
    use the same image: the clicks with their labels exchanged; as many clicks with the same labels, anywhere
    in the frame; and the gain without the pixels within `NEAR` of a click.

    Args:
        model: with a trained interactor, in evaluation mode.
        first: its answer to the box.
        batch: the validation sample, one, on the model's device.
        seed: of the run; clicks are a function of (seed, round, set, image).
        simulation: arguments of `simulate_clicks`.

    Returns:
        a row per round: `set`, `image`, `seed` (the round), `clicks` (their number), `iou_` and
        `biou_` `before`, `after`, `gain`; `iou_gain_flipped`, `iou_gain_random`, `iou_gain_away`;
        `clicked_flipped`, the share of clicks whose pixel of the frame has their label afterwards (NaN for no
        clicks); `collateral`, the share of the pixels farther than `NEAR` from all clicks and right before
        that are wrong after. And whether all logits stayed equal, bit by bit, when all clicks were removed.
    """
    objects, straight = first.objects, first.logits
    assert objects is not None
    mask, set_name, image = batch.original_masks[0].cpu(), batch.sets[0], batch.ids[0]
    size, true = mask.shape, KnownMask(mask.numpy())

    def after_clicks(clicks: Clicks) -> Tensor:
        return model.interact(objects, batch.image, clicks, first.of_image)

    def at_original(logits: Tensor) -> Tensor:
        return mask_at_original(replace(first, logits=logits), size)

    def iou_of(logits: Tensor) -> float:
        return region_scores(at_original(logits).numpy(), true, boundary=False)["iou"]

    before = at_original(straight)
    old = region_scores(before.numpy(), true)
    rows: list[Row] = []
    equal = True
    for round_ in range(ROUNDS):
        click_seed = derive_seed(seed, "interact", round_, set_name, image)
        clicks = simulate_clicks(straight > 0, batch.mask, seeds=[click_seed], **simulation)
        logits = after_clicks(clicks)
        after = at_original(logits)
        new = region_scores(after.numpy(), true)
        flipped = iou_of(after_clicks(exchanged(clicks)))
        elsewhere = iou_of(after_clicks(anywhere(clicks, straight.shape[-2:], click_seed)))
        removed = replace(clicks, valid=torch.zeros_like(clicks.valid))
        equal &= torch.equal(after_clicks(removed), straight)

        points = pixels_to_unit(clicks.points[0][clicks.valid[0]], *straight.shape[-2:]).cpu()
        away = ~near_clicks(points * points.new_tensor([size[1], size[0]]), size)
        row: Row = {"set": set_name, "image": image, "seed": round_, "clicks": int(clicks.valid.sum())}
        for score in old:
            row[f"{score}_before"], row[f"{score}_after"] = old[score], new[score]
            row[f"{score}_gain"] = new[score] - old[score]
        rows.append(
            row
            | {
                "iou_gain_flipped": flipped - old["iou"],
                "iou_gain_random": elsewhere - old["iou"],
                "iou_gain_away": gain_away(before, after, mask, away),
                "clicked_flipped": share_obeyed(binarise(logits), clicks),
                "collateral": collateral(before, after, mask, away),
            }
        )
    return rows, equal
