"""Clicks lie where all models err, in the original size; images with the largest such regions are chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.known_answers import MASK, SIDE, Paints, answer_of, batch_of, rectangle
from helpers.reference import common_error_pixels
from helpers.small_runs import small_batch, small_model
from pisam.clicks.simulate import simulate_clicks
from pisam.core.seeding import derive_seed
from pisam.evaluation.interaction.common_error import (
    ClickedImage,
    click_common_error,
    common_error,
    select_images,
)
from pisam.modeling.sam_segmenters import SamSegmenter
from pisam.modeling.segmenters import PiSamSegmenter

SIMULATION = {"min_area": 8, "margin": 0.25, "connectivity": 8}


@pytest.mark.parametrize("models", [1, 2, 3])
def test_common_error_is_what_no_model_has_right(models: int) -> None:
    rng = np.random.default_rng(models)
    mask = rng.random((13, 17)) < 0.5
    predictions = [rng.random((13, 17)) < 0.5 for _ in range(models)]
    region = common_error([torch.from_numpy(p) for p in predictions], torch.from_numpy(mask))
    expected = common_error_pixels(predictions, mask)
    assert expected
    assert {(int(x), int(y)) for y, x in region.nonzero()} == expected


def clicked(*segmenters: Paints, stretch: tuple[int, int] = (1, 1), seed: int = 3) -> ClickedImage:
    batch = batch_of(MASK, stretch)
    answers = [answer_of(segmenter, batch) for segmenter in segmenters]
    return click_common_error(answers, batch, seed=seed, max_clicks=20, simulation=SIMULATION)


def test_clicks_are_those_of_the_simulator_on_the_common_region() -> None:
    """One model lacks the lower half of the object, one its left half and adds a strip above."""
    lower, left = rectangle(8, 8, 56, 30), rectangle(30, 2, 56, 56)
    image = clicked(Paints("a", lower), Paints("b", left))
    region = rectangle(8, 30, 30, 56)
    assert (image.set, image.image, image.width, image.height) == ("set", "image", SIDE, SIDE)
    assert image.common_area == 22 * 26
    seeds = [derive_seed(3, "common error", "set", "image")]
    expected = simulate_clicks(MASK, MASK, seeds=seeds, max_clicks=20, region=region, **SIMULATION)
    assert list(image.clicks) == expected.rows(0)
    assert {label for *_, label in image.clicks} == {1}


def test_area_and_clicks_are_in_pixels_of_the_original() -> None:
    image = clicked(Paints("a", rectangle(8, 8, 56, 30)), stretch=(4, 2))
    assert (image.width, image.height) == (4 * SIDE, 2 * SIDE)
    assert image.common_area == pytest.approx(48 * 26 * 8, rel=0.05)  # the edge is bilinear
    assert len(image.clicks) == 9  # sqrt(area) / 10; 3 of them in the frame's pixels
    for x, y, label in image.clicks:
        assert 8 * 4 < x < 56 * 4 and 30 * 2 < y < 56 * 2 and label == 1
        assert x % 1 == y % 1 == 0.5


def test_clicks_depend_on_seed_and_name_alone() -> None:
    lacking = Paints("a", rectangle(8, 8, 56, 30))
    assert clicked(lacking) == clicked(lacking, Paints("b", rectangle(8, 8, 56, 20)))
    assert clicked(lacking).clicks != clicked(lacking, seed=4).clicks


def test_models_that_err_differently_have_no_common_error() -> None:
    image = clicked(Paints("a", rectangle(8, 8, 56, 30)), Paints("b", rectangle(8, 30, 56, 56)))
    assert (image.common_area, image.clicks) == (0, ())


def test_clicks_of_real_models_lie_where_both_are_wrong() -> None:
    model = small_model().eval()
    segmenters = [SamSegmenter(model), PiSamSegmenter(model)]
    batch = small_batch(1)
    first = [answer_of(segmenter, batch) for segmenter in segmenters]
    image = click_common_error(first, batch, seed=0, max_clicks=20, simulation=SIMULATION)
    mask = batch.original_masks[0]
    answers = [answer.mask() for answer in first]
    assert image.clicks
    for x, y, label in image.clicks:
        assert all(bool(answer[int(y), int(x)]) != bool(label) for answer in answers)
        assert bool(mask[int(y), int(x)]) == bool(label)


def image_of(name: str, area: int, clicks: int) -> ClickedImage:
    return ClickedImage("set", name, 9, 9, area, ((0.5, 0.5, 1),) * clicks)


def test_the_largest_common_errors_are_chosen_and_the_others_named() -> None:
    images = [
        image_of("a", 50, 1),
        image_of("b", 0, 0),
        image_of("c", 90, 3),
        image_of("d", 7, 0),
        image_of("e", 50, 2),
        image_of("f", 20, 1),
    ]
    selection = select_images(images, 3)
    assert [image.image for image in selection.chosen] == ["c", "a", "e"]
    assert [image.image for image in selection.without_error] == ["b"]
    assert [image.image for image in selection.too_small] == ["d"]
    assert len(select_images(images, 200).chosen) == 4
