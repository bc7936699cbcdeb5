"""Properties of the guarantee, for any logits, picture and clicks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pisam.clicks.guarantee import BAND, obey, share_obeyed
from pisam.core.types import Click

FEW = settings(max_examples=40, deadline=None)


def scene(seed: int, height: int, width: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits and a picture, some of it flat, some of it noise."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (height, width)).astype(np.float32)
    frame = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    frame[:12] = 128
    return logits, frame


@st.composite
def clicked(draw: st.DrawFn, most: int = 12) -> tuple[np.ndarray, np.ndarray, list[Click]]:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    logits, frame = scene(
        draw(st.integers(0, 99)), height, width, draw(st.sampled_from([0.0, 1e-3, 5.0, 1e30]))
    )
    x, y = st.floats(0, width), st.floats(0, height)
    clicks = draw(st.lists(st.tuples(x, y, st.integers(0, 1)), max_size=most))
    return logits, frame, clicks


def pixel_of(x: float, y: float, shape: tuple[int, ...]) -> tuple[int, int]:
    return min(int(np.floor(y)), shape[0] - 1), min(int(np.floor(x)), shape[1] - 1)


def label_of(clicks: list[Click], shape: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """The last label of each pixel."""
    return {pixel_of(x, y, shape): label for x, y, label in clicks}


@FEW
@given(clicked())
def test_every_clicked_pixel_has_the_label_of_its_last_click(case) -> None:  # type: ignore[no-untyped-def]
    logits, frame, clicks = case
    answer = obey(logits, frame, clicks)
    assert answer.dtype == np.float32 and answer.shape == logits.shape and np.isfinite(answer).all()
    for pixel, label in label_of(clicks, logits.shape).items():
        assert (answer[pixel] > 0) == bool(label)


@FEW
@given(clicked(), st.randoms(use_true_random=False))
def test_order_is_of_no_matter_where_clicks_do_not_contradict(case, random) -> None:  # type: ignore[no-untyped-def]
    logits, frame, clicks = case
    labels = label_of(clicks, logits.shape)
    agreed = [(column + 0.5, row + 0.5, label) for (row, column), label in labels.items()]
    shuffled = random.sample(agreed, len(agreed))
    np.testing.assert_array_equal(obey(logits, frame, agreed), obey(logits, frame, shuffled))
    np.testing.assert_array_equal(obey(logits, frame, clicks), obey(logits, frame, agreed))


@FEW
@given(clicked())
def test_clicks_that_are_obeyed_change_nothing_bit_by_bit(case) -> None:  # type: ignore[no-untyped-def]
    logits, frame, clicks = case
    assert obey(logits, frame, []) is logits
    right = [(x, y, int(logits[pixel_of(x, y, logits.shape)] > 0)) for x, y, _ in clicks]
    assert obey(logits, frame, right) is logits
    answer = obey(logits, frame, clicks)
    assert obey(answer, frame, clicks) is answer


@FEW
@given(clicked())
def test_the_logits_that_are_given_are_left_alone(case) -> None:  # type: ignore[no-untyped-def]
    logits, frame, clicks = case
    before = logits.copy()
    obey(logits, frame, clicks)
    np.testing.assert_array_equal(logits, before)


def test_a_change_is_local_and_follows_the_picture() -> None:
    logits = np.full((256, 512), -2, np.float32)
    frame = np.zeros((256, 512, 3), np.uint8)
    frame[:, 200:] = 255
    changed = obey(logits, frame, [(195.5, 100.5, 1)]) != logits
    rows, columns = np.nonzero(changed)
    assert changed[100, 195] and columns.max() == 199  # not over the edge, four pixels away
    assert 20 < 195 - columns.min() < 80 and 20 < rows.max() - 100 < 80
    flipped = obey(logits, frame, [(195.5, 100.5, 1)]) > 0
    assert 20 < flipped.sum() < changed.sum()


def test_bands_leave_no_seam() -> None:
    """Rows are worked on in bands: a click in one acts alike in its neighbour."""
    logits = np.full((2 * BAND + 40, 96), -2, np.float32)
    frame = np.full((8, 8, 3), 90, np.uint8)
    answers = [obey(logits, frame, [(40.5, row + 0.5, 1)]) for row in (BAND - 1, BAND + 20)]
    reach = 60
    np.testing.assert_array_equal(
        answers[0][BAND - 1 - reach : BAND + reach], answers[1][BAND + 20 - reach : BAND + 21 + reach]
    )


def test_contradicting_neighbours_each_keep_their_pixel() -> None:
    logits = np.full((64, 64), -8, np.float32)
    frame = np.full((64, 64, 3), 50, np.uint8)
    clicks = [(column + 0.5, 30.5, column % 2) for column in range(64)]
    assert share_obeyed(obey(logits, frame, clicks) > 0, clicks) == 1
    assert share_obeyed(logits > 0, clicks) == 0.5


def test_the_later_of_two_contradicting_clicks_counts() -> None:
    logits, frame = scene(0, 20, 30, 3.0)
    for first, last in ((0, 1), (1, 0)):
        answer = obey(logits, frame, [(5.2, 7.9, first), (5.7, 7.1, last)])
        assert (answer[7, 5] > 0) == bool(last)


@pytest.mark.parametrize("point", [(30.0, 20.0), (0.0, 20.0), (30.0, 0.0), (29.999, 0.5)])
def test_clicks_on_the_far_edges_are_on_the_last_pixels(point: tuple[float, float]) -> None:
    logits, frame = scene(1, 20, 30, 3.0)
    pixel = pixel_of(*point, logits.shape)
    for label in (0, 1):
        assert (obey(logits, frame, [(*point, label)])[pixel] > 0) == bool(label)


def test_a_thousand_clicks() -> None:
    logits, frame = scene(2, 300, 400, 3.0)
    rng = np.random.default_rng(0)
    clicks = [(x * 400, y * 300, int(label > 0.5)) for x, y, label in rng.random((1000, 3)).tolist()]
    assert share_obeyed(obey(logits, frame, clicks) > 0, clicks) == 1


def test_share_obeyed_of_no_click_is_not_a_number() -> None:
    assert np.isnan(share_obeyed(np.ones((3, 3), bool), []))
