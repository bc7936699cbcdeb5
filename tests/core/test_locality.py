"""A click changes the region that it asks for and what is near it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pisam.core.locality import Click, alike, join_answers, regions_asked_for, stay_near

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


def test_sams_answer_counts_half_and_not_at_all_where_several_clicks_made_it_let_go() -> None:
    before = np.where(disc(30, 30, 20), np.float32(1), np.float32(-1))
    fine, lost = before + 0.5, -np.abs(before)
    for asked, several, both in ((fine, True, True), (lost, True, False), (lost, False, True)):
        click = [(30.0, 30.0, 1)]
        joined, in_it = join_answers(before, fine, asked, click, several=several, rough=False)
        near = stay_near(before, fine, click)
        assert in_it == both
        assert np.allclose(joined, (near + stay_near(before, asked, click)) / 2 if both else near)


def test_after_points_or_a_given_mask_sams_answer_counts_whole() -> None:
    before, click = np.full((SIDE, SIDE), -1, np.float32), [(30.0, 30.0, 1)]
    alone, asked = before + 0.5, np.where(disc(30, 30, 20), np.float32(3), before)
    joined, in_it = join_answers(before, alone, asked, click, several=False, rough=True)
    assert in_it and np.array_equal(joined, stay_near(before, asked, click))
    joined, in_it = join_answers(before, alone, asked, click, several=True, rough=True)
    assert not in_it and np.array_equal(joined, alone)
