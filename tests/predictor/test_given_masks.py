"""Masks of any size and origin, repaired by clicks: what no click touches stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.odd_files import SHAPE, good_masks, wrong_masks
from pisam.clicks.guarantee import REACH, SUPPORT, obey, share_obeyed
from pisam.core.locality import last_labels
from pisam.data.reading import image_files
from pisam.modeling.pisam import PiSam, build_model
from pisam.predictor import PiSamPredictor, images
from pisam.predictor.images import as_mask

HEIGHT, WIDTH, SIZE = 70, 120, 64


@pytest.fixture(scope="module")
def predictor() -> PiSamPredictor:
    model: PiSam = build_model("nano", image_size=SIZE)
    generator = np.random.default_rng(1)
    for parameter in model.interactor.parameters():
        parameter.data.normal_(0, 0.2)
    predictor = PiSamPredictor(model)
    predictor.set_image(generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    return predictor


def blobs(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH)).astype(np.float32)
    mask: np.ndarray = cv2.GaussianBlur(noise, (0, 0), 5) > 0.02
    return mask


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 50),
    st.lists(st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT), st.booleans()), min_size=1, max_size=4),
)
def test_only_what_is_clicked_changes(
    predictor: PiSamPredictor, seed: int, clicks: list[tuple[float, float, bool]]
) -> None:
    mask = blobs(seed)
    alone = PiSamPredictor(predictor.model, guarantee=False)
    alone._session.image = predictor._session.image
    for each in (alone, predictor):
        np.testing.assert_array_equal(each.set_mask(mask), mask)
        for click in clicks:
            each.click(*click)
    for label in (False, True):
        changed = (alone.mask != mask) & (alone.mask == label)
        _, regions = cv2.connectedComponents(changed.astype(np.uint8), connectivity=8)
        pixels = [pixel for pixel, own in last_labels(alone.clicks, mask.shape).items() if own == label]
        assert set(np.unique(regions)) - {0} <= {regions[pixel] for pixel in pixels}
    ys, xs = np.nonzero(predictor.mask != alone.mask)
    reach = REACH * np.sqrt(HEIGHT * WIDTH) * np.sqrt(SUPPORT) + 1
    away = np.min([np.hypot(xs + 0.5 - x, ys + 0.5 - y) for x, y, _ in clicks], axis=0)
    assert (away <= reach).all()
    assert share_obeyed(predictor.mask, predictor.clicks) == 1
    for _ in clicks:
        back = predictor.undo()
    np.testing.assert_array_equal(back, mask)


def test_clicks_that_the_mask_obeys_already_change_nothing(predictor: PiSamPredictor) -> None:
    mask = blobs(3)
    predictor.set_mask(mask)
    y, x = np.argwhere(mask)[40]
    np.testing.assert_array_equal(predictor.click(x + 0.5, y + 0.5, True), mask)


def test_a_mask_comes_as_bool_bytes_shares_or_a_picture_at_any_size(predictor: PiSamPredictor) -> None:
    mask = blobs(4)
    as_bytes = mask.astype(np.uint8) * 255
    for same in (mask, as_bytes, mask.astype(np.uint8), mask.astype(np.float64), Image.fromarray(as_bytes)):
        np.testing.assert_array_equal(predictor.set_mask(same), mask)
    soft = np.clip(mask.astype(np.float32), 0.2, 0.9)
    np.testing.assert_array_equal(predictor.set_mask(soft), mask)
    large = cv2.resize(as_bytes, (WIDTH * 3, HEIGHT * 3), interpolation=cv2.INTER_NEAREST)
    assert (predictor.set_mask(large) == mask).mean() > 0.97
    for whole in (np.zeros_like(mask), np.ones_like(mask)):
        np.testing.assert_array_equal(predictor.set_mask(whole), whole)
        predictor.click(60, 30, not whole[0, 0])
        assert predictor.mask[30, 60] != whole[0, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        np.full((5, 6), 2.0),
        np.full((5, 6), -1),
        np.full((5, 6), np.nan),
        np.full((5, 6), 300, np.int64),
        np.zeros((0, 6)),
        np.zeros((2, 5, 6)),
        np.zeros((5, 6), complex),
        np.array([["a"]]),
        None,
    ],
)
def test_other_masks_are_refused(predictor: PiSamPredictor, wrong: np.ndarray) -> None:
    before = predictor.set_mask(blobs(5))
    with pytest.raises(ValueError, match="mask: expected"):
        predictor.set_mask(wrong)
    np.testing.assert_array_equal(predictor.mask, before)


def test_without_an_image_a_mask_is_refused(predictor: PiSamPredictor) -> None:
    with pytest.raises(ValueError, match="expected an image first"):
        PiSamPredictor(predictor.model).set_mask(blobs(0))


def test_coverage_of_a_byte_mask_is_its_share_of_255() -> None:
    coverage = as_mask(np.array([[0, 51, 204, 255]], np.uint8), (1, 4))
    np.testing.assert_allclose(coverage, [[0, 0.2, 0.8, 1]])
    assert obey(coverage, np.zeros((1, 1, 4), np.uint8), []) is coverage


def test_a_picture_means_what_its_file_means(tmp_path: Path) -> None:
    """Palettes, cut-outs, 16 bits, orientation and all, and what the reader of files refuses is refused."""
    for path in good_masks(tmp_path):
        with Image.open(path) as opened:
            for _ in range(2):  # the picture is left as it was
                np.testing.assert_array_equal(as_mask(opened, SHAPE.shape) > 0.5, SHAPE, path.name)
        np.testing.assert_array_equal(as_mask(str(path), SHAPE.shape) > 0.5, SHAPE)
    for path in wrong_masks(tmp_path):
        if path.name != "black.png":  # of which a repair can begin
            for wrong in (Image.open(path), path):
                with pytest.raises(ValueError, match=r"mask|\.png|\.tif"):
                    as_mask(wrong, SHAPE.shape)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 0, 7, 7], "values reach 7 of 255"),
        ([0, 1, 2, 3], "values reach 3 of 255"),
        ([0, 1, 0, 255], "value 255 beside 1 alone"),
        ([0, 300, 0, 0], "got int64 of 0 to 300"),
    ],
)
def test_numbers_that_may_mean_two_things_are_refused(values: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_mask(np.array([values]), (1, 4))


@pytest.mark.parametrize("highest", [1, 255, 65535])
def test_numbers_of_any_width_mean_what_they_would_in_a_file(highest: int) -> None:
    given = SHAPE.astype(np.uint16) * np.uint16(highest)
    kinds = [np.uint16] if highest > 255 else [np.uint16, np.int64, np.int16]
    for kind in kinds:
        np.testing.assert_array_equal(as_mask(given.astype(kind), SHAPE.shape), SHAPE)


@pytest.mark.parametrize("given", [np.zeros, lambda size, kind: Image.new("1", size)])
def test_a_mask_larger_than_any_picture_is_refused_before_it_is_worked_on(
    monkeypatch: pytest.MonkeyPatch, given: Callable[..., Any]
) -> None:
    for module in (images, image_files):
        monkeypatch.setattr(module, "MAX_PIXELS", 99)
    with pytest.raises(ValueError, match=r"mask: .* megapixels"):
        as_mask(given((10, 10), bool), (5, 5))


@pytest.mark.parametrize(
    "wrong", [torch.ones(5, 6, dtype=torch.bfloat16), torch.ones(5, 6, requires_grad=True), [[1], [1, 2]]]
)
def test_what_numpy_takes_no_values_of_is_a_value_error(wrong: Any) -> None:
    with pytest.raises(ValueError, match="mask: expected an array"):
        as_mask(wrong, (5, 6))
