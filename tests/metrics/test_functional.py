"""IoU and boundary IoU, on tensors and on packed masks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from helpers.metric_pairs import PAIRS, field
from pisam import metrics
from pisam.metrics.functional import KnownMask, binarise, boundary_band, boundary_iou, iou
from pisam.metrics.packed import skeleton, unpack


def blobs(seed: int, height: int = 61, width: int = 83) -> Tensor:
    """Random smooth shapes, some of which touch the border."""
    noise = np.random.default_rng(seed).standard_normal((height, width))
    return torch.from_numpy(ndimage.gaussian_filter(noise, 4) > 0)


def slow_band(mask: Tensor, distance: int) -> Tensor:
    """The published definition step by step: a frame of outside, then `distance` erosions by 3 x 3."""
    framed = np.pad(mask.numpy(), 1)
    inner = ndimage.binary_erosion(framed, np.ones((3, 3)), iterations=distance, border_value=1)
    return mask & ~torch.from_numpy(inner[1:-1, 1:-1])


def slow_iou(one: Tensor, other: Tensor) -> float:
    first, second = ({tuple(p) for p in m.nonzero().tolist()} for m in (one, other))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("seed", range(3))
def test_iou_counts_pixels(seed: int) -> None:
    one, other = blobs(seed), blobs(seed + 10)
    assert iou(one, other).item() == pytest.approx(slow_iou(one, other), abs=1e-7)


# On 61 x 83 the diagonal is 103.0 px: distances 1 (rounded up from 0), 1, 2, 3, 5, 7 and 10.
@pytest.mark.parametrize(
    ("ratio", "distance"), [(0.001, 1), (0.01, 1), (0.02, 2), (0.03, 3), (0.05, 5), (0.07, 7), (0.1, 10)]
)
def test_band_equals_repeated_small_erosions(ratio: float, distance: int) -> None:
    for seed in range(3):
        assert torch.equal(boundary_band(blobs(seed), ratio), slow_band(blobs(seed), distance))


def test_boundary_iou_is_the_iou_of_the_bands() -> None:
    one, other = blobs(1), blobs(1).roll((2, 1), (0, 1))
    expected = slow_iou(slow_band(one, 2), slow_band(other, 2))
    assert boundary_iou(one, other).item() == pytest.approx(expected, abs=1e-7)
    assert expected < slow_iou(one, other)


def test_the_image_border_is_a_boundary() -> None:
    full = torch.ones(40, 60, dtype=torch.bool)
    band = boundary_band(full, 0.04)  # 3 px
    assert band.sum() == 40 * 60 - 34 * 54
    assert band[:3].all() and band[:, -3:].all() and not band[3:-3, 3:-3].any()


def test_a_mask_thinner_than_the_band_is_all_boundary() -> None:
    line = torch.zeros(50, 70, dtype=torch.bool)
    line[20] = True
    assert torch.equal(boundary_band(line), line)


@pytest.mark.parametrize("score", [iou, boundary_iou])
@pytest.mark.parametrize(
    ("prediction", "mask", "expected"),
    [("empty", "empty", 1.0), ("empty", "full", 0.0), ("full", "empty", 0.0), ("full", "full", 1.0)],
)
def test_empty_and_full(score, prediction: str, mask: str, expected: float) -> None:  # type: ignore[no-untyped-def]
    masks = {"empty": torch.zeros(20, 30, dtype=torch.bool), "full": torch.ones(20, 30, dtype=torch.bool)}
    assert score(masks[prediction], masks[mask]).item() == expected


@pytest.mark.parametrize("score", [iou, boundary_iou])
def test_single_pixels(score) -> None:  # type: ignore[no-untyped-def]
    one, two = torch.zeros(2, 20, 30, dtype=torch.bool)
    one[4, 7] = two[4, 7] = two[4, 8] = True
    assert score(one, one).item() == 1.0
    assert score(one, two).item() == 0.5
    assert score(one, one.roll(1, 1)).item() == 0.0
    assert score(torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool)).item() == 1.0


def test_axes_may_have_any_length() -> None:
    for shape in ((1, 200), (200, 1), (3, 3)):
        mask = torch.ones(shape, dtype=torch.bool)
        distance = max(1, round(0.02 * math.hypot(*shape)))
        assert torch.equal(boundary_band(mask), slow_band(mask, distance))


def test_logits_become_object_above_zero() -> None:
    logits = torch.tensor([[-1.0, 0.0, 1e-3]])
    expected = torch.tensor([[False, False, True]])
    assert torch.equal(binarise(logits), expected)
    assert torch.equal(binarise(logits[None, None]), expected)
    assert torch.equal(binarise(expected), expected)


@pytest.mark.parametrize(
    "bad", [torch.zeros(2, 1, 4, 4), torch.zeros(4), torch.zeros(4, 4, dtype=torch.uint8)]
)
def test_what_is_no_single_prediction_is_refused(bad: Tensor) -> None:
    with pytest.raises(ValueError, match="expected"):
        binarise(bad)


@pytest.mark.parametrize("score", [iou, boundary_iou])
def test_other_sizes_or_types_are_refused(score) -> None:  # type: ignore[no-untyped-def]
    mask = torch.zeros(4, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"\(5, 4\).*\(4, 5\)"):
        score(mask.T, mask)
    with pytest.raises(ValueError, match="bool"):
        iou(mask, mask.float())


def test_a_band_wider_than_the_mask_is_all_of_it_and_one_without_width_is_refused() -> None:
    mask = torch.ones(8, 9, dtype=torch.bool)
    assert boundary_band(mask, 1e7).all()
    for ratio in (float("inf"), float("nan"), -0.1):
        with pytest.raises(ValueError, match="dilation_ratio: expected"):
            boundary_iou(mask, mask, ratio)


@pytest.mark.parametrize("score", [iou, boundary_iou])
@pytest.mark.parametrize(
    "wrong", [np.ones((4, 5), bool), torch.ones(4, 5), torch.ones(1, 4, 5, dtype=torch.bool), None]
)
def test_what_is_no_pair_of_bool_tensors_is_refused(score: Callable[..., Tensor], wrong: Any) -> None:
    for pair in ((wrong, wrong), (wrong, torch.ones(4, 5, dtype=torch.bool))):
        with pytest.raises(ValueError, match="expected two bool masks"):
            score(*pair)


def test_nan_is_neither_object_nor_background() -> None:
    with pytest.raises(ValueError, match="expected logits, got NaN"):
        binarise(torch.tensor([[1.0, torch.nan]]))
    with pytest.raises(ValueError, match="expected a tensor"):
        binarise(np.zeros((2, 2)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PAIRS)
def test_scores_are_those_of_the_plain_mask(name: str) -> None:
    prediction, mask = PAIRS[name]
    known = KnownMask(mask)
    for predicted in (prediction, 255 - prediction):
        assert metrics.all_scores(predicted, known) == metrics.all_scores(predicted, mask)


def test_band_is_that_of_the_training_callbacks() -> None:
    mask = field(90, 131, 5, 0) > 0
    band = unpack(KnownMask(mask).band, mask.shape[1])
    assert np.array_equal(band, boundary_band(torch.from_numpy(mask)).numpy())


def test_its_skeleton_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, mask = PAIRS["soft-0"]
    known = KnownMask(mask)
    first = metrics.all_scores(prediction, known, ["hce"])
    assert np.array_equal(known.skeleton, skeleton(mask))
    monkeypatch.setattr("pisam.metrics.functional.skeleton", None)
    assert metrics.all_scores(prediction, known, ["hce"]) == first


def test_a_known_mask_of_another_size_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"of one size, got prediction uint8 \(4, 5\) and mask bool \(4, 4\)"
    ):
        metrics.all_scores(np.zeros((4, 5), np.uint8), KnownMask(np.zeros((4, 4), bool)))
