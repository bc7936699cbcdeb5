"""Before, after, gain and the share of images that improved."""

from __future__ import annotations

import math

import pytest
import torch

from pisam.metrics.functional import boundary_iou
from pisam.metrics.set_scores import InteractionScores

MASK = torch.zeros(10, 20, dtype=torch.bool)
MASK[:, :10] = True


def half(columns: int) -> torch.Tensor:
    prediction = torch.zeros(10, 20, dtype=torch.bool)
    prediction[:, :columns] = True
    return prediction


def filled() -> dict[str, float]:
    scores = InteractionScores(["A", "B", "C"])
    scores.update(half(5), half(8), MASK, "A")  # 0.5 -> 0.8
    scores.update(half(20), half(10), MASK, "A")  # 0.5 -> 1
    scores.update(half(10), half(9), MASK, "A")  # 1 -> 0.9
    scores.update(half(7), half(7), MASK, "B")  # 0.7 -> 0.7
    return {key: value.item() for key, value in scores.compute().items()}


def test_scores_per_set_and_over_sets() -> None:
    result = filled()
    assert result["A/iou_before"] == pytest.approx(2.0 / 3)
    assert result["A/iou_after"] == pytest.approx(2.7 / 3)
    assert result["A/iou_gain"] == pytest.approx(0.7 / 3)
    assert result["B/iou_gain"] == 0
    assert result["iou_before"] == pytest.approx((2.0 / 3 + 0.7) / 2)
    assert result["iou_gain"] == pytest.approx(0.7 / 6)
    assert result["pooled/iou_gain"] == pytest.approx(0.7 / 4)
    before = [boundary_iou(half(c), MASK).item() for c in (5, 20, 10)]
    after = [boundary_iou(half(c), MASK).item() for c in (8, 10, 9)]
    assert result["A/biou_before"] == pytest.approx(sum(before) / 3)
    assert result["A/biou_after"] == pytest.approx(sum(after) / 3)
    assert result["A/biou_gain"] == pytest.approx((sum(after) - sum(before)) / 3)


def test_an_unchanged_mask_has_not_improved() -> None:
    result = filled()
    assert result["A/improved"] == pytest.approx(2 / 3)
    assert result["B/improved"] == 0
    assert result["improved"] == pytest.approx(1 / 3)


def test_keys_are_fixed() -> None:
    names = ["iou_before", "iou_after", "iou_gain", "biou_before", "biou_after", "biou_gain", "improved"]
    names.append("oracle")
    shares = [*(f"{s}/oracle_share" for s in [*"ABC", "pooled"]), "oracle_share"]
    keys = [*(f"{s}/{n}" for s in [*"ABC", "pooled"] for n in names), *names, *shares]
    assert list(filled()) == keys == InteractionScores(["A", "B", "C"]).names


def test_share_of_the_oracle_is_that_of_the_means() -> None:
    scores = InteractionScores(["A", "B"])
    scores.update(half(5), half(8), MASK, "A", half(10))  # .3 of .5
    scores.update(half(8), half(7), MASK, "A", half(9))  # -.1 of .1
    result = {key: value.item() for key, value in scores.compute().items()}
    assert result["A/oracle"] == pytest.approx(0.3)
    assert result["A/oracle_share"] == result["pooled/oracle_share"] == pytest.approx(0.2 / 0.6)
    assert math.isnan(result["B/oracle_share"]) and math.isnan(filled()["oracle_share"])


def test_logits_count_like_masks() -> None:
    scores = InteractionScores(["A"])
    before, after = (torch.where(half(c), 3.0, -0.5)[None, None] for c in (5, 8))
    scores.update(before, after, MASK, "A")
    assert scores.compute()["iou_gain"].item() == pytest.approx(0.3)
