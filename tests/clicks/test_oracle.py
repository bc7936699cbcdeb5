"""The oracle repairs the clicked components of an error, and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pisam.clicks.oracle import clicked_errors, locally_repaired


def flooded(wrong: np.ndarray, mask: np.ndarray, start: tuple[int, int], steps: list) -> set[tuple[int, int]]:
    """Slow truth: the pixels of the same error that are reached from a pixel."""
    if not wrong[start]:
        return set()
    seen, edge = {start}, [start]
    while edge:
        row, column = edge.pop()
        for down, across in steps:
            near = row + down, column + across
            inside = 0 <= near[0] < wrong.shape[0] and 0 <= near[1] < wrong.shape[1]
            if inside and near not in seen and wrong[near] and mask[near] == mask[start]:
                seen.add(near)
                edge.append(near)
    return seen


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 8), st.integers(0, 1)), max_size=4),
    st.sampled_from([4, 8]),
)
def test_against_a_flood_from_each_click(seed: int, pixels: list, connectivity: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, mask = rng.random((9, 12)) < 0.5, rng.random((9, 12)) < 0.5
    wrong = prediction != mask
    steps = [
        (y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y or x) and (connectivity == 8 or 0 in (y, x))
    ]
    clicks = [(x + 0.5, y + 0.5, label) for x, y, label in pixels]
    last = {(y, x): label for x, y, label in pixels}
    expected = {
        pixel
        for start, label in last.items()
        if mask[start] == label
        for pixel in flooded(wrong, mask, start, steps)
    }
    region = clicked_errors(prediction, mask, clicks, connectivity)
    assert {(int(y), int(x)) for y, x in np.argwhere(region)} == expected
    repaired = locally_repaired(prediction, mask, clicks, connectivity)
    assert (repaired[region] == mask[region]).all()
    assert (repaired[~region] == prediction[~region]).all()


def test_no_click_repairs_nothing() -> None:
    prediction, mask = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    assert not clicked_errors(prediction, mask, []).any()
    assert not clicked_errors(prediction, mask, [(1.5, 1.5, 0)]).any()  # not the label that repairs it
    assert clicked_errors(prediction, mask, [(5.0, 4.0, 1)]).all()
