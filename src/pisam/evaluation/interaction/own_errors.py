"""Effect of clicks on a mask, and controls that show if it is the clicks' meaning that causes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from pisam.clicks.components import locally_repaired
from pisam.clicks.simulate import simulate_clicks
from pisam.core.geometry import pixels_to_unit
from pisam.core.seeding import derive_seed
from pisam.core.types import Batch, Clicks
from pisam.evaluation.interaction.benchmark import obedience, share_of_oracle
from pisam.evaluation.interaction.controls import anywhere, collateral, exchanged, gain_away, near_clicks
from pisam.evaluation.rows import Row, changes
from pisam.metrics.functional import KnownMask, region_scores
from pisam.modeling.pisam import PiSam
from pisam.modeling.segmenters import State
from pisam.predictor.session import Answer

CLICK_SEEDS = 3  # different clicks on each image


def own_clicks(
    straight: State, batch: Batch, click_seed: int, *, seed: int, simulation: Mapping[str, Any]
) -> Clicks:
    """Clicks on the errors of a straight-forward mask of one sample, drawn in the frame as in training.

    They are a function of (seed, click seed, set, image); `simulation` are arguments of `simulate_clicks`.
    """
    drawn = derive_seed(seed, "interact", click_seed, batch.sets[0], batch.ids[0])
    region = None if batch.ignored is None else ((straight.logits > 0) ^ batch.mask) & ~batch.ignored
    return simulate_clicks(straight.logits > 0, batch.mask, seeds=[drawn], region=region, **simulation)


def click_effect(
    firsts: Mapping[str, Answer], batch: Batch, *, seed: int, simulation: Mapping[str, Any]
) -> list[Row]:
    """Click on the errors of a straight-forward mask, `CLICK_SEEDS` times, and compare before and after.

    Masks are scored at original size. Controls use the same image: the clicks with their labels exchanged; as
    many clicks with the same labels, anywhere; and the gain without the pixels within `NEAR` of a click.

    Args:
        firsts: one answer to the box, as different uses of a model would repair it, by their names.
        batch: the validation sample, one, on the model's device.
        seed: see `own_clicks`.
        simulation: see `own_clicks`.

    Returns:
        a row per use and click seed: `model`, `set`, `image`, `click_seed`, `clicks` (their number), `iou_`
        and `biou_` `before`, `after`, `gain`; the other columns are those of `benchmark_image`; `obeyed` is
        NaN without clicks.
    """
    mask, set_name, image = batch.original_masks[0].cpu().numpy(), batch.sets[0], batch.ids[0]
    size, true = mask.shape, KnownMask(mask)
    straight = next(iter(firsts.values()))
    before = straight.mask()
    old = region_scores(before, true)

    def iou_of(answer: Answer) -> float:
        return region_scores(answer.mask(), true, boundary=False)["iou"]

    rows: list[Row] = []
    for click_seed in range(CLICK_SEEDS):
        drawn = own_clicks(straight.state, batch, click_seed, seed=seed, simulation=simulation)
        points = pixels_to_unit(drawn.points, *batch.mask.shape[-2:]) * drawn.points.new_tensor(size[::-1])
        clicks = replace(drawn, points=points).rows(0)
        repaired = locally_repaired(before, mask, clicks, int(simulation.get("connectivity", 8)))
        oracle = region_scores(repaired, true, boundary=False)["iou"] - old["iou"]
        away = ~near_clicks(clicks, size)
        elsewhere = anywhere(clicks, size, derive_seed(seed, "interact", click_seed, set_name, image))
        for name, first in firsts.items():
            answer = first.after(clicks)
            after = answer.mask()
            new = region_scores(after, true)
            row: Row = {"model": name, "set": set_name, "image": image, "click_seed": click_seed}
            rows.append(
                row
                | {"clicks": len(clicks)}
                | changes(old, new, old)
                | share_of_oracle(new["iou"] - old["iou"], oracle)
                | {
                    "labels_exchanged": iou_of(first.after(exchanged(clicks))) - old["iou"],
                    "random_places": iou_of(first.after(elsewhere)) - old["iou"],
                    "iou_gain_away": gain_away(before, after, mask, away),
                    **obedience(answer),
                    "collateral": collateral(before, after, mask, away),
                }
            )
    return rows


def equal_without_clicks(model: PiSam, straight: State, clicks: Clicks) -> bool:
    """True where a model's logits stay those before the clicks, bit by bit, when all clicks are removed."""
    assert straight.objects is not None
    removed = replace(clicks, valid=torch.zeros_like(clicks.valid))
    again = model.interact(straight.objects, straight.encoded.image, removed, straight.of_image)
    return torch.equal(again, straight.logits)
