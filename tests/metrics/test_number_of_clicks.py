"""NoC, NoF, IoU after k and the rest, against loops over images and clicks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pisam.metrics.number_of_clicks import (
    area_under_curve,
    clicks_needed,
    curves_of,
    heading,
    iou_after,
    noc,
    nof,
    seconds_per_click,
    summarise,
)


def slow_noc(rows: list[list[float]], target: float) -> tuple[list[int], int]:
    """Clicks per image, and the number of images that failed, one look at a time."""
    needed, failed = [], 0
    for row in rows:
        for clicks, iou in enumerate(row, start=1):
            if iou >= target:
                needed.append(clicks)
                break
        else:
            needed.append(len(row))
            failed += 1
    return needed, failed


@pytest.mark.parametrize("target", [80, 85, 90, 95])
def test_recorded_answers_score_as_a_loop_scores_them(target: int) -> None:
    rng = np.random.default_rng(target)
    for clicks in (1, 2, 20):
        rows = np.round(rng.random((300, clicks)) ** 0.2, 2).tolist()  # many values meet a target exactly
        needed, failed = slow_noc(rows, target / 100)
        assert clicks_needed(rows, target / 100).tolist() == needed
        assert noc(rows, target / 100) == sum(needed) / len(needed)
        assert nof(rows, target / 100) == failed
        scores = summarise(rows)
        assert (scores[f"noc_{target}"], scores[f"nof_{target}"]) == (sum(needed) / len(needed), failed)


def test_means_after_k_clicks_and_the_area_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((40, 7)).tolist()
    for k in range(1, 8):
        assert iou_after(rows, k) == pytest.approx(sum(row[k - 1] for row in rows) / 40)
    areas = [sum((row[k] + row[k + 1]) / 2 for k in range(6)) / 6 for row in rows]
    assert area_under_curve(rows) == pytest.approx(areas)
    assert area_under_curve([[1.0] * 5, [0.5] * 5]).tolist() == [1, 0.5]
    assert area_under_curve([[0.3]]).tolist() == [0.3]
    assert summarise(rows)["auc"] == pytest.approx(sum(areas) / 40)
    assert {*summarise(rows)} >= {"iou_1", "iou_3", "iou_5", "iou_7"} and "iou_10" not in summarise(rows)


def test_ritms_count_of_failures_differs_only_where_the_last_click_succeeds() -> None:
    rows = [[0.1, 0.95], [0.1, 0.2], [0.95, 0.1]]
    assert nof(rows, 0.9) == 1
    assert (clicks_needed(rows, 0.9) == 2).sum() == 2


def test_the_answer_to_a_box_counts_as_no_click() -> None:
    assert clicks_needed([[0.9, 1.0], [0.2, 0.9], [0.1, 0.1]], 0.85, first=0).tolist() == [0, 1, 1]
    scores = summarise([[0.9, 1.0], [0.2, 0.9]], first=0)
    assert (scores["noc_85"], scores["iou_0"], scores["iou_1"]) == (0.5, 0.55, 0.95)


def test_tensors_and_arrays_give_the_same() -> None:
    rows = torch.rand(5, 4, dtype=torch.float64, requires_grad=True)
    assert summarise(rows) == summarise(rows.detach().numpy()) == summarise(rows.tolist())


def test_what_needed_fewer_clicks_keeps_its_last_score() -> None:
    assert curves_of([[0.5], [0.1, 0.2, 0.3]], 3).tolist() == [[0.5] * 3, [0.1, 0.2, 0.3]]
    for rows in ([[]], [[0.1] * 4]):
        with pytest.raises(ValueError, match="row 0: expected 1 to 3 scores"):
            curves_of(rows, 3)


@pytest.mark.parametrize(
    ("rows", "clicks", "message"),
    [
        ([None], 3, "row 0: expected 1 to 3 scores"),
        ([[0.5], 0.5], 3, r"row 1: .*got shape \(\)"),
        (np.array([0.5, 0.6]), 2, "row 0: expected 1 to 2 scores"),
        ([[[0.5, 0.6]]], 2, r"row 0: .*got shape \(1, 2\)"),
        ([["x"]], 2, "row 0: .*got list"),
        ([[0.5]], 2.5, "a whole number of clicks, got list, 2.5"),
        (None, 2, "expected rows .*got NoneType"),
    ],
)
def test_what_are_no_rows_of_scores_is_told(rows: Any, clicks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        curves_of(rows, clicks)


def test_time_is_a_mean_over_clicks_not_over_images() -> None:
    assert seconds_per_click([[1.0], [2.0, 3.0, 6.0]]) == 3
    assert seconds_per_click([[], []]) is None


@pytest.mark.parametrize("target", [0.8, 0.85, 0.9, 0.95])
def test_a_score_of_few_bits_reaches_the_target_that_it_is(target: float) -> None:
    for kind in (np.float16, np.float32, np.float64, torch.tensor):
        ious = kind([[target / 2, target]])
        assert noc(ious, target) == 2 and nof(ious, target) == 0
        assert summarise(ious)[f"nof_{round(100 * target)}"] == 0
    below = np.nextafter(np.float32(target), np.float32(0))
    assert nof(np.float32([[below]]), target) == 1


@pytest.mark.parametrize(
    "ious", [[], [[]], [0.5], [[0.5, np.nan]], [[1.1]], [[-0.1]], [[0.5j]], [[1], [1, 1]], None]
)
def test_nonsense_is_refused(ious: list) -> None:
    with pytest.raises(ValueError, match="ious: expected"):
        noc(ious, 0.9)


@pytest.mark.parametrize("target", [90, -0.1, np.nan, "0.9", None])
@pytest.mark.parametrize("score", [noc, nof, clicks_needed])
def test_a_target_that_is_no_share_is_refused(score: Callable[..., Any], target: Any) -> None:
    with pytest.raises(ValueError, match=r"target: expected an IoU in \[0, 1\], got"):
        score([[0.5, 0.95]], target)


def test_shares_for_percent_and_parts_of_clicks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"targets: expected percent, .* got 0\.9"):
        summarise([[0.5, 0.95]], [0.9])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"targets: .*|target: expected"):
        summarise([[0.5, 0.95]], [900])
    with pytest.raises(ValueError, match=r"clicks: expected 1 to 2, got 1\.0"):
        iou_after([[0.5, 0.95]], 1.0)  # type: ignore[arg-type]


def test_more_clicks_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="clicks: expected 1 to 2, got 3"):
        iou_after([[0.1, 0.2]], 3)


def test_scores_are_headed_as_the_field_prints_them() -> None:
    shown = {heading(score) for score in summarise(np.linspace(0, 1, 20)[None])}
    assert shown >= {"NoC@90", "NoF@95", "IoU@1", "5-mIoU", "IoU@20", "AuC"} and "IoU@5" not in shown
