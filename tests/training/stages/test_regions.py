from __future__ import annotations

import numpy as np
import torch

from helpers.small_runs import small_batch
from pisam.core.types import Clicks
from pisam.training.stages.regions import alter_targets, region_at


def test_a_region_holds_its_place_and_keeps_to_the_edges_of_the_picture() -> None:
    image = np.full((80, 80, 3), 30, np.uint8)
    image[:, 40:] = 220
    for seed in range(5):
        region = region_at(image, (20, 30), np.random.default_rng(seed))
        assert region[30, 20]
        assert region[:, 43:].sum() == 0, "the edge at 40, but for a blur"


def test_a_region_is_wrong_as_a_whole_and_the_rest_as_it_was() -> None:
    batch = small_batch(6)
    predicted = batch.mask.clone()
    masks, regions = alter_targets(batch, predicted, Clicks.none(6), share=1.0)
    for mask, region, old in zip(masks, regions, batch.mask, strict=True):
        changed = mask != old
        assert region.any()
        assert len(torch.unique(mask[region])) == 1
        assert not (changed & ~region).any() or changed.sum() > region.sum()
        assert (mask[region] != old[region]).all(), "the prediction was the mask, so all of it is an error"
    again, _ = alter_targets(batch, predicted, Clicks.none(6), share=1.0)
    assert torch.equal(masks, again), "a function of the seeds"
    untouched, none = alter_targets(batch, predicted, Clicks.none(6), share=0.0)
    assert torch.equal(untouched, batch.mask) and not none.any()


def test_a_region_that_was_clicked_before_stays() -> None:
    batch = small_batch(1)
    _, region = alter_targets(batch, batch.mask, Clicks.none(1), share=1.0)
    y, x = region[0, 0].nonzero()[0].tolist()
    click = Clicks(torch.tensor([[[x + 0.5, y + 0.5]]]), torch.tensor([[1]]), torch.tensor([[True]]))
    masks, none = alter_targets(batch, batch.mask, click, share=1.0)
    assert torch.equal(masks, batch.mask) and not none.any()
