"""Every score of an image against PySODMetrics, and what may be asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from py_sod_metrics import FmeasureV2, IOUHandler

from helpers.metric_pairs import PAIRS, Pair, four_k
from helpers.published_metrics import published_scores
from pisam import metrics
from pisam.metrics.functional import boundary_iou, iou

# Their S-measure is NaN where a quadrant has no pixels, as in these.
UNDEFINED = {"row", "column"}


def agrees(pair: Pair, undefined: bool = False) -> None:
    ours, theirs = metrics.all_scores(*pair), published_scores([pair])
    assert ours["hce"] == theirs["hce"]
    assert math.isnan(theirs["s_measure"]) == undefined
    if undefined:
        theirs["s_measure"] = ours["s_measure"]
        assert 0 <= ours["s_measure"] <= 1
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_scores_are_those_of_pysodmetrics(name: str) -> None:
    agrees(PAIRS[name], name in UNDEFINED)


def test_scores_of_a_4k_image_are_those_of_pysodmetrics() -> None:
    agrees(four_k())


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_iou_and_boundary_iou_are_those_of_the_training_callbacks(pair: Pair) -> None:
    scores = metrics.all_scores(*pair, ["iou", "biou"])
    predicted, mask = torch.from_numpy(pair[0] > 127), torch.from_numpy(pair[1])
    assert scores["iou"] == pytest.approx(iou(predicted, mask).item(), abs=1e-7)
    assert scores["biou"] == pytest.approx(boundary_iou(predicted, mask).item(), abs=1e-7)


@pytest.mark.parametrize("name", ["soft-0", "binary-1", "thin", "noise", "box-soft", "dot-soft"])
def test_iou_is_that_of_pysodmetrics(name: str) -> None:
    prediction, mask = PAIRS[name]
    measure = FmeasureV2({"iou": IOUHandler(with_dynamic=False, with_adaptive=False, with_binary=True)})
    measure.step(prediction / 255, mask, normalize=False)
    expected = measure.get_results()["iou"]["binary"]
    assert metrics.all_scores(prediction, mask, ["iou"])["iou"] == pytest.approx(expected, abs=1e-12)


def test_rows_have_the_columns_of_per_image_csv() -> None:
    row = metrics.all_scores(*PAIRS["soft-0"])
    assert ",".join(row) == (
        "iou,biou,max_f,mean_f,adaptive_f,weighted_f,mae,s_measure,max_e,mean_e,adaptive_e,hce"
    )
    assert {type(value) for value in row.values()} <= {float, int}


@pytest.mark.parametrize("name", metrics.METRICS)
def test_each_metric_alone_is_what_it_is_among_all(name: str) -> None:
    pair = PAIRS["soft-1"]
    assert metrics.all_scores(*pair, [name]) == {name: metrics.all_scores(*pair)[name]}


def test_curves_come_with_f_and_e() -> None:
    image = metrics.score_image(*PAIRS["soft-1"], ["max_e", "mean_f"])
    assert image.f_curve is not None and image.e_curve is not None
    assert image.f_curve.shape == image.e_curve.shape == (256,)
    assert image.e_curve.max() == image.values["max_e"] and image.f_curve.mean() == image.values["mean_f"]
    # The threshold 0 takes everything: precision is the mask's share of the image.
    mask = PAIRS["soft-1"][1]
    assert image.f_curve[0] == pytest.approx(1.3 * mask.mean() / (0.3 * mask.mean() + 1), abs=1e-12)
    assert metrics.score_image(*PAIRS["soft-1"], ["mae"]).f_curve is None


def test_bool_and_probabilities_score_like_their_levels() -> None:
    levels, mask = PAIRS["soft-2"]
    assert metrics.all_scores(levels / 255, mask) == metrics.all_scores(levels, mask)
    half = levels > 127
    assert metrics.all_scores(half, mask) == metrics.all_scores(half * np.uint8(255), mask)


def test_arrays_need_not_be_contiguous_and_stay_as_they_are() -> None:
    levels, mask = PAIRS["soft-3"]
    expected = metrics.all_scores(levels[::2, ::2].copy(), mask[::2, ::2].copy())
    before = levels.copy(), mask.copy()
    assert metrics.all_scores(levels[::2, ::2], mask[::2, ::2]) == expected
    metrics.all_scores(levels, mask)
    assert np.array_equal(levels, before[0]) and np.array_equal(mask, before[1])


def test_scores_do_not_depend_on_where_an_array_lies_in_memory() -> None:
    """Else two ranks would not give the very numbers of one."""
    levels, mask = PAIRS["soft-3"]
    rows = []
    for offset in range(8):
        elsewhere = np.empty(levels.size + offset, np.uint8)[offset:].reshape(levels.shape)
        elsewhere[:] = levels
        rows.append(metrics.all_scores(elsewhere, mask))
    assert all(row == rows[0] for row in rows)


LEVELS, MASK = PAIRS["tiny-0"]


@pytest.mark.parametrize(
    ("prediction", "mask", "message"),
    [
        (LEVELS.T, MASK, r"\(5, 4\).*\(4, 5\)"),
        (LEVELS, MASK.astype(np.uint8), "bool mask"),
        (LEVELS[None], MASK[None], "one size"),
        (LEVELS[:0], MASK[:0], r"\(0, 5\)"),
        (LEVELS.astype(np.float32), MASK, r"probabilities in \[0, 1\]"),
        (np.full(MASK.shape, np.nan), MASK, "nan"),
        (LEVELS.astype(np.int64), MASK, "int64"),
        (MASK.astype(np.uint8), MASK, "values of 0 and 1 alone; give a mask as bool"),
        (np.ma.masked_array(LEVELS, MASK), MASK, "masked pixels"),
        (LEVELS, np.ma.masked_array(MASK, MASK), "masked pixels"),
        (torch.from_numpy(MASK).float().to_sparse(), MASK, "expected a plain tensor: .*[Ss]parse"),
        (LEVELS, metrics.KnownMask(MASK.tolist()[:2]), "of one size"),  # type: ignore[arg-type]
        (LEVELS, metrics.KnownMask(None), "bool mask"),  # type: ignore[arg-type]
        (None, None, "bool mask"),
    ],
)
def test_what_is_no_pair_is_refused(prediction: np.ndarray, mask: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.all_scores(prediction, mask)


@pytest.mark.parametrize(
    ("ignored", "message"),
    [
        (np.where(MASK, 0, 255).astype(np.uint8), r"ignored: expected bool \(4, 5\) .*got uint8"),
        (np.full(MASK.shape, np.nan), "got float64"),
        (np.zeros((1, MASK.shape[1]), bool), r"got bool \(1, 5\)"),
        (True, "got bool"),
        (MASK, "none of the object's pixels, got"),
    ],
)
def test_what_cannot_be_ignored_is_refused(ignored: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.all_scores(LEVELS, MASK, ["mae"], ignored)


def test_what_is_ignored_may_be_a_tensor() -> None:
    scores = [metrics.all_scores(LEVELS, MASK, ignored=given) for given in (~MASK, torch.from_numpy(~MASK))]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("names", [[], ["iou", "dice"], "iou", "mae", None, ["iou", 5], [["iou"]]])
def test_unknown_metrics_are_refused(names: Any) -> None:
    with pytest.raises(ValueError, match="expected some of the metrics iou, biou"):
        metrics.all_scores(LEVELS, MASK, names)


def test_what_is_ignored_counts_for_no_score() -> None:
    prediction, mask = PAIRS["soft-0"]
    ignored = np.zeros_like(mask)
    ignored[:, : mask.shape[1] // 3] = True
    truth, noise = mask & ~ignored, np.random.default_rng(0).integers(0, 256, mask.shape, dtype=np.uint8)
    plain = metrics.all_scores(np.where(ignored, np.uint8(0), prediction), truth)
    scores = metrics.all_scores(np.where(ignored, noise, prediction), truth, ignored=ignored)
    assert scores.pop("mae") == pytest.approx(plain.pop("mae") / (1 - ignored.mean()))
    assert scores == plain
    perfect = metrics.all_scores(np.where(ignored, noise, truth * np.uint8(255)), truth, ignored=ignored)
    assert perfect["iou"] == perfect["biou"] == perfect["max_f"] == perfect["weighted_f"] == 1
    assert perfect["mae"] == perfect["hce"] == 0
