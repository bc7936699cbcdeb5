"""The benchmark measures as defined, on models whose answers are known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.known_answers import MASK, Paints, answer_of, batch_of, rectangle
from pisam.core.errors import PisamError
from pisam.core.types import Clicks
from pisam.evaluation.interaction.benchmark import (
    SCORES,
    BenchmarkRows,
    BenchmarkSettings,
    benchmark_image,
)
from pisam.evaluation.interaction.click_file import ClickedImage
from pisam.evaluation.interaction.curves import Stopwatch
from pisam.evaluation.parallel import threads_beside
from pisam.evaluation.rows import Row
from pisam.metrics.functional import iou
from pisam.metrics.image_scores import all_scores
from pisam.modeling.segmenters import State
from pisam.predictor.predictor import TorchEngine

LACKING = rectangle(8, 8, 56, 30)
SETTINGS = BenchmarkSettings(clicks=2, rounds=4, connectivity=8, seed=1)
CLICKS = ((20.5, 45.5, 1), (44.5, 45.5, 1), (32.5, 40.5, 1))
IMAGE = ClickedImage("set", "image", 64, 64, 26 * 48, CLICKS)
BEFORE = 22 / 48


def measure(
    *segmenters: Paints,
    image: ClickedImage = IMAGE,
    settings: BenchmarkSettings = SETTINGS,
    threads: int = 0,
    guarantee: bool = False,
    **options: Any,
) -> BenchmarkRows:
    batch = batch_of(MASK)
    firsts = {segmenter.name: answer_of(segmenter, batch, guarantee=guarantee) for segmenter in segmenters}
    with threads_beside(threads) as scorers:
        return benchmark_image(firsts, batch, image, settings, scorers, **options)


def row_of(segmenter: Paints) -> Row:
    (row,) = measure(segmenter).images
    return row


def disc_area(segmenter: Paints) -> int:
    """Pixels of one disc inside the object's missed half: the discs of CLICKS lie there whole."""
    return int((segmenter.after(segmenter.first(None, None), one_click()).logits > 0).sum()) - 22 * 48  # type: ignore[arg-type]


def one_click() -> Clicks:
    return Clicks.of([CLICKS[:1]])


def test_kept_masks_are_those_that_were_scored() -> None:
    kept = {}

    def keep(model: str, when: str, set_name: str, image: str, mask: np.ndarray) -> None:
        kept[model, when, set_name, image] = mask

    segmenters = [Paints("a", LACKING), Paints("b", MASK)]
    rows = measure(*segmenters, keep=keep).images
    assert list(kept) == [(name, when, "set", "image") for name in "ab" for when in ("before", "after")]
    for row in rows:
        for when in ("before", "after"):
            mask = torch.from_numpy(kept[str(row["model"]), when, "set", "image"])
            assert row[f"iou_{when}"] == pytest.approx(float(iou(mask, MASK[0, 0])))


def test_before_and_after_the_first_clicks() -> None:
    row = row_of(Paints("a", LACKING))
    gain = 2 * disc_area(Paints("a", LACKING)) / 48**2
    assert (row["model"], row["set"], row["image"], row["common_area"]) == ("a", "set", "image", 26 * 48)
    assert row["clicks"] == 2
    assert row["iou_before"] == pytest.approx(BEFORE)
    assert row["iou_gain"] == pytest.approx(gain)
    assert row["iou_after"] == pytest.approx(BEFORE + gain)
    assert row["biou_gain"] == pytest.approx(float(row["biou_after"]) - float(row["biou_before"]))
    assert (row["obeyed"], row["collateral"], row["iou_gain_away"]) == (1, 0, 0)
    assert row["labels_exchanged"] == pytest.approx(0)
    assert float(row["max_f_gain"]) > 0 > float(row["mae_gain"])
    for score, expected in all_scores(LACKING[0, 0].numpy(), MASK[0, 0].numpy(), SCORES).items():
        assert row[f"{score}_before"] == pytest.approx(expected), score
        difference = float(row[f"{score}_after"]) - float(row[f"{score}_before"])
        assert row[f"{score}_gain"] == pytest.approx(difference)
    assert float(row["random_places"]) < gain
    assert float(row["iou_gain_noisy"]) <= float(row["iou_gain"])


def test_a_model_that_ignores_clicks_gains_nothing() -> None:
    row = row_of(Paints("deaf", LACKING, radius=0))
    assert (row["iou_gain"], row["random_places"], row["obeyed"]) == (0, 0, 0)
    assert (row["noc_85"], row["nof_85"]) == (4, 1)


def test_clicks_that_reach_far_are_seen_away_from_them() -> None:
    row = row_of(Paints("wide", LACKING, radius=14))
    assert float(row["iou_gain_away"]) > 0
    assert float(row["collateral"]) > 0  # below the object


def test_curves_of_both_protocols_start_at_the_box_and_noc_is_read_off_the_iterative_one() -> None:
    measured = measure(Paints("a", LACKING, radius=13))
    curves = {(row["protocol"], row["clicks"]): float(row["iou"]) for row in measured.curves}
    assert list(curves) == [(p, k) for p in ("single-shot", "iterative") for k in (0, 1, 2, 3, 4)]
    assert curves["single-shot", 0] == curves["iterative", 0] == pytest.approx(BEFORE)
    assert curves["single-shot", 2] == pytest.approx(measured.images[0]["iou_after"])
    assert curves["single-shot", 3] == curves["single-shot", 4]  # there are three clicks
    after = [curves["iterative", k] for k in range(5)]
    assert after[0] < after[1] < after[2]
    expected = next(k for k in range(5) if after[k] >= 0.85)
    assert (measured.images[0]["noc_85"], measured.images[0]["nof_85"]) == (expected, 0)
    assert measured.watches["a"].clicks == 4


def test_all_models_get_the_same_clicks() -> None:
    models = [Paints("a", LACKING), Paints("b", rectangle(8, 8, 56, 20))]
    measured = measure(*models)
    assert [row["model"] for row in measured.images] == ["a", "b"]
    # The single-shot curve comes first: after 1, 2 and 3 clicks, the fourth being none.
    assert models[0].told[:3] == models[1].told[:3]
    assert models[0].told[2] == [(x, y, label) for x, y, label in CLICKS]


def test_same_seed_same_numbers_and_another_seed_other_controls() -> None:
    assert measure(Paints("a", LACKING)).images == measure(Paints("a", LACKING)).images
    other = replace(SETTINGS, seed=2)
    (row,) = measure(Paints("a", LACKING), settings=other).images
    one = row_of(Paints("a", LACKING))
    differing = {key for key in row if row[key] != one[key]}
    assert differing <= {"random_places", "iou_gain_noisy"}
    assert row["random_places"] != one["random_places"]


def test_clicks_made_on_another_size_or_mask_are_refused_by_name() -> None:
    with pytest.raises(PisamError, match=r"set/image: made on 65 x 64 pixels, the image here has 64 x 64"):
        measure(Paints("a", LACKING), image=replace(IMAGE, width=65))
    wrong = replace(IMAGE, clicks=(*CLICKS, (1.5, 1.5, 1)))
    with pytest.raises(PisamError, match="set/image: a label contradicts the mask"):
        measure(Paints("a", LACKING), image=wrong)
    with pytest.raises(ValueError, match="clicks of set/other on set/image"):
        measure(Paints("a", LACKING), image=replace(IMAGE, image="other"))


def test_rows_and_times_of_images_and_ranks_add_up() -> None:
    rows = BenchmarkRows()
    rows.add(BenchmarkRows([{"model": "a"}], [{"clicks": 1}], {"a": Stopwatch(1.0, 2)}))
    rows.add(BenchmarkRows([{"model": "b"}], [], {"a": Stopwatch(2.0, 1), "b": Stopwatch(5.0, 5)}))
    assert (rows.images, rows.curves) == ([{"model": "a"}, {"model": "b"}], [{"clicks": 1}])
    assert rows.watches == {"a": Stopwatch(3.0, 3), "b": Stopwatch(5.0, 5)}


def test_threads_change_no_number() -> None:
    models = [Paints("a", LACKING), Paints("b", rectangle(8, 8, 56, 20), radius=13)]
    alone, beside = measure(*models), measure(*models, threads=3)
    assert (beside.images, beside.curves) == (alone.images, alone.curves)


def test_an_error_of_a_thread_is_not_lost() -> None:
    def keep(*_: Any) -> None:
        raise PisamError("disk full")

    for threads in (0, 1):
        with pytest.raises(PisamError, match="disk full"):
            measure(Paints("a", LACKING), threads=threads, keep=keep)


def test_curves_are_read_at_their_own_numbers_whatever_number_of_clicks_is_compared() -> None:
    measured = measure(Paints("a", LACKING), settings=replace(SETTINGS, clicks=3, rounds=2))
    assert [row["clicks"] for row in measured.curves] == [0, 1, 2] * 2
    assert measured.images[0]["clicks"] == 3
    assert float(measured.images[0]["iou_after"]) > float(measured.curves[2]["iou"])


def test_models_are_asked_in_turn_while_threads_look_for_the_next_clicks() -> None:
    """The iterative protocol of one model does not wait for that of another."""
    order: list[str] = []

    class Noted(Paints):
        def after(self, state: State, clicks: Clicks) -> State:
            order.append(self.name)
            return super().after(state, clicks)

    measure(Noted("a", LACKING), Noted("b", LACKING))
    assert order[-8:] == ["a", "b"] * 4  # four rounds


def test_two_models_with_one_answer_to_the_box_are_scored_alike_before_the_clicks() -> None:
    models, batch = [Paints("a", LACKING), Paints("b", LACKING, radius=13)], batch_of(MASK)
    first = answer_of(models[0], batch)
    firsts = {"a": first, "b": replace(first, engine=TorchEngine(models[1]))}
    with threads_beside(0) as here:
        shared = benchmark_image(firsts, batch, IMAGE, SETTINGS, here)
    assert shared.images == measure(*models).images


def test_the_oracle_repairs_exactly_what_was_clicked() -> None:
    """The missed half is one component: any click on it would give the whole gain."""
    measured = measure(Paints("a", LACKING), Paints("whole", LACKING, radius=60))
    row, whole = measured.images
    assert row["oracle"] == whole["oracle"] == pytest.approx(1 - BEFORE)
    assert row["oracle_share"] == pytest.approx(float(row["iou_gain"]) / (1 - BEFORE))
    curves = {(r["model"], r["protocol"], r["clicks"]): r["oracle"] for r in measured.curves}
    for protocol in ("single-shot", "iterative"):
        assert curves["a", protocol, 0] == 0
        assert curves["a", protocol, 1] == curves["a", protocol, 4] == pytest.approx(1 - BEFORE)
    (perfect,) = measure(Paints("perfect", MASK)).images
    assert perfect["oracle"] == 0 and math.isnan(float(perfect["oracle_share"]))


def test_with_the_guarantee_a_deaf_model_obeys_and_gains() -> None:
    (deaf,), (guaranteed,) = (
        measure(Paints("deaf", LACKING, radius=0), guarantee=guarantee).images for guarantee in (False, True)
    )
    for row in (deaf, guaranteed):
        assert (row["obeyed"], row["obeyed_guaranteed"]) == (0, 1)
    assert deaf["iou_gain"] == 0 < float(guaranteed["iou_gain"])
    assert float(guaranteed["labels_exchanged"]) <= 0
