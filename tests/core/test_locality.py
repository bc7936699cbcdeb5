"""A click changes the region that it asks for and what is near it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pisam.core.locality import (
    Click,
    Heard,
    Start,
    alike,
    in_the_middle,
    join_answers,
    regions_asked_for,
    stay_near,
)

SIDE = 64
LOGITS = arrays(np.float32, (16, 24), elements=st.floats(-4, 4, width=32))
CLICKS = st.lists(
    st.tuples(st.floats(0, 24), st.floats(0, 16), st.sampled_from([0, 1])), min_size=1, max_size=4
)


def disc(x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def test_the_clicked_region_changes_whole_and_a_far_one_does_not() -> None:
    before = np.full((SIDE, SIDE), -3, np.float32)
    clicked, near, far = disc(20, 20, 16), disc(40, 20, 3), disc(55, 55, 6)
    after = np.where(clicked | near | far, np.float32(3), before)
    answer = stay_near(before, after, [(36.0, 20.0, 1)])
    assert (answer > 0)[clicked].all()
    assert not (answer > 0)[far].any() and np.allclose(answer[far], -3, atol=0.01)
    assert (answer > 0)[20, 38]


def test_a_region_that_became_the_other_label_is_not_asked_for() -> None:
    before, after = np.zeros((2, SIDE, SIDE), np.float32) - 1
    after[10:20, 10:20] = 1
    assert regions_asked_for(before, after, [(15.0, 15.0, 1)]).sum() == 100
    assert not regions_asked_for(before, after, [(15.0, 15.0, 0)]).any()
    assert not regions_asked_for(
        before, after, [(15.0, 15.0, 1), (15.0, 15.0, 0)]
    ).any()  # the last one counts


@given(LOGITS, LOGITS, CLICKS)
def test_between_before_and_after_and_after_at_the_clicks(
    before: np.ndarray, after: np.ndarray, clicks: list[Click]
) -> None:
    answer = stay_near(before, after, clicks)
    low, high = np.minimum(before, after) - 1e-5, np.maximum(before, after) + 1e-5
    assert ((answer >= low) & (answer <= high)).all()
    for x, y, _ in clicks:
        pixel = min(int(y), 15), min(int(x), 23)
        assert answer[pixel] == np.float32(after[pixel]) or abs(answer[pixel] - after[pixel]) < 1e-5
    assert np.array_equal(stay_near(before, before, clicks), before)


def test_answers_are_alike_while_most_of_the_object_stays() -> None:
    whole = np.where(disc(30, 30, 20), np.float32(3), np.float32(-3))
    half = np.where(disc(30, 30, 20) & (np.arange(SIDE) < 30), np.float32(3), np.float32(-3))
    assert alike(whole, whole) and not alike(whole, half) and not alike(half, whole)
    assert alike(-np.abs(whole), -np.abs(whole)), "two empty masks"


CLICK: list[Click] = [(30.0, 30.0, 1)]
BEFORE = np.where(disc(30, 30, 20), np.float32(1), np.float32(-1))
FINE, LOST = BEFORE + np.float32(0.5), -np.abs(BEFORE)


STARTS: list[Start] = ["box", "points", "mask"]
EDGE: list[Click] = [(12.0, 30.0, 0)]
MIDDLE: list[Click] = [(30.0, 30.0, 0)]


@pytest.mark.parametrize("start", STARTS)
def test_sams_answer_counts_half_and_not_at_all_where_several_clicks_made_it_let_go(start: Start) -> None:
    two = [*CLICK, (31.0, 30.0, 1)]
    like = FINE + np.float32(0.25)
    for asked, known, both in ((like, 0, True), (LOST, 0, False), (like, 1, True)):
        joined = join_answers(BEFORE, FINE, asked, two, Heard(known), start)
        near, again = stay_near(BEFORE, FINE, two), stay_near(BEFORE, asked, two)
        assert joined.believed == both and joined.heard.clicks == 2
        believed = again if start == "mask" else (near + again) / 2
        assert np.allclose(joined.logits, believed if both else near)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("clicks", [EDGE, MIDDLE])
def test_sam_takes_away_in_the_middle_of_a_box_and_anywhere_of_a_given_mask(
    start: Start, clicks: list[Click]
) -> None:
    """But not after points: it lets go of the object then."""
    joined = join_answers(BEFORE, FINE, LOST, clicks, Heard(), start)
    believed = start == "mask" or (start == "box" and clicks is MIDDLE)
    assert joined.believed == believed and joined.heard == Heard(1, settled=False)
    assert np.array_equal(joined.logits, stay_near(BEFORE, LOST if believed else FINE, clicks))


def test_after_points_whatever_is_added_is_believed_until_the_object_is_known() -> None:
    larger, edge = np.abs(BEFORE), [(9.0, 30.0, 1)]  # of the disc, from outside
    for start in STARTS:
        for known in (False, True):
            joined = join_answers(BEFORE, FINE, larger, edge, Heard(0, known), start)
            assert joined.believed == (start != "box" and not known), (start, known)


@pytest.mark.parametrize("start", STARTS)
def test_from_an_object_that_is_known_no_click_takes_much_away(start: Start) -> None:
    first = join_answers(BEFORE, FINE, FINE, CLICK, Heard(), start)
    assert first.heard == Heard(1, settled=start != "mask"), "SAM may have believed what it was shown"
    then = join_answers(BEFORE, FINE, LOST, [*CLICK, *MIDDLE], first.heard, start)
    assert then.believed == (start == "mask")
    larger = np.abs(BEFORE)
    edge: list[Click] = [(9.0, 30.0, 1)]  # of the disc, from outside
    assert join_answers(BEFORE, FINE, larger, [*CLICK, *edge], first.heard, start).believed == (
        start == "mask"
    )
    added = join_answers(BEFORE, FINE, larger, [*CLICK, (60.0, 60.0, 1)], first.heard, start)
    assert added.believed and added.heard == Heard(2, first.heard.settled)


def test_a_click_lies_in_the_middle_of_what_it_changes() -> None:
    empty = np.full((SIDE, SIDE), -1, np.float32)
    assert in_the_middle(empty, BEFORE, CLICK), "nothing has the label yet"
    assert not in_the_middle(BEFORE, LOST, CLICK), "it has the label already"
    assert in_the_middle(BEFORE, BEFORE, CLICK), "nothing changes"
    for depth in (1, 5, 12, 15, 20):  # the disc has a radius of 20
        assert in_the_middle(BEFORE, LOST, [(50.5 - depth, 30.5, 0)]) == (depth > 12)
    twice = [(30.5, 30.5, 0), (12.0, 30.0, 0), (30.5, 30.5, 0)]
    assert in_the_middle(BEFORE, LOST, twice), "the last click counts, wherever earlier ones are"


def test_after_points_or_a_given_mask_sams_answer_counts_whole() -> None:
    before = np.full((SIDE, SIDE), -1, np.float32)
    alone, asked = before + 0.5, np.where(disc(30, 30, 20), np.float32(3), before)
    joined = join_answers(before, alone, asked, CLICK, Heard(), "points")
    assert joined.believed and np.array_equal(joined.logits, stay_near(before, asked, CLICK))
    two = [*CLICK, (31.0, 30.0, 1)]
    joined = join_answers(before, alone, asked, two, Heard(), "points")
    assert not joined.believed and np.array_equal(joined.logits, stay_near(before, alone, two))
