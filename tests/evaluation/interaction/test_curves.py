"""Curves over clicks: all at once, and one by one on the model's own largest error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.known_answers import MASK, SIDE, Paints, answer_of, batch_of, rectangle
from helpers.reference import deepest_pixels
from helpers.small_runs import small_batch, small_model
from pisam.evaluation.interaction.curves import Stopwatch, iterative, readings, single_shot
from pisam.evaluation.parallel import threads_beside
from pisam.modeling.sam_segmenters import SamSegmenter
from pisam.modeling.segmenters import PiSamSegmenter
from pisam.predictor.session import Answer

LACKING = rectangle(8, 8, 56, 30)


def one_by_one(
    first: Answer, mask: np.ndarray, rounds: int, watch: Stopwatch | None = None
) -> list[np.ndarray]:
    with threads_beside(0) as here:
        looks = iterative(first, mask, rounds, connectivity=8, watch=watch or Stopwatch(), looking=here.look)
        return [look.result().mask for look, _ in looks]


def ask(segmenter: Paints, stretch: tuple[int, int] = (1, 1)) -> tuple[Answer, np.ndarray]:
    batch = batch_of(MASK, stretch)
    return answer_of(segmenter, batch), batch.original_masks[0].numpy()


@pytest.mark.parametrize(
    ("most", "expected"),
    [(20, [1, 2, 3, 5, 10, 20]), (1, [1]), (4, [1, 2, 3, 4]), (30, [1, 2, 3, 5, 10, 20, 30])],
)
def test_curves_are_read_at_the_papers_numbers(most: int, expected: list[int]) -> None:
    assert readings(most) == expected


def test_single_shot_gives_the_first_clicks_at_once_in_the_frame() -> None:
    segmenter = Paints("a", LACKING, radius=3)
    first, mask = ask(segmenter, stretch=(4, 2))
    clicks = [(40.0, 80.0, 1), (100.0, 90.0, 1), (200.0, 100.0, 1)]
    answers = list(single_shot(first, clicks, [1, 2, 3, 5]))
    in_frame = [(10.0, 40.0, 1), (25.0, 45.0, 1), (50.0, 50.0, 1)]
    assert segmenter.told == [in_frame[:1], in_frame[:2], in_frame]  # there is no fifth
    scores = [(answer.mask() & mask).sum() / (answer.mask() | mask).sum() for answer in answers]
    assert scores[0] < scores[1] < scores[2] == scores[3]


def test_single_shot_without_clicks_is_the_box_alone() -> None:
    segmenter = Paints("a", LACKING)
    first, _ = ask(segmenter)
    assert [answer is first for answer in single_shot(first, [], [1, 2])] == [True, True]
    assert not segmenter.told


def test_iterative_clicks_are_the_deepest_pixels_of_the_largest_error_left() -> None:
    """Held against the slow truth, round by round, on errors of both kinds."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((1, 1, 8, 8)) < 0.25)
    wrong = coarse.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    segmenter = Paints("a", MASK ^ wrong, radius=5)
    first, mask = ask(segmenter)
    answers = [first.mask(), *one_by_one(first, mask, 6)]
    assert len(answers) == 7 and len(segmenter.told) == 6
    for round_, (answer, told) in enumerate(zip(answers, segmenter.told, strict=False)):
        expected = deepest_pixels(answer ^ mask, mask)
        x, y, label = told[-1]
        assert expected[int(x), int(y)] == label
        assert told[:-1] == (segmenter.told[round_ - 1] if round_ else [])  # all clicks so far
    assert {label for *_, label in segmenter.told[-1]} == {0, 1}


def test_a_model_that_ignores_clicks_is_never_clicked_twice_at_one_pixel() -> None:
    segmenter = Paints("deaf", LACKING, radius=0)
    first, mask = ask(segmenter)
    one_by_one(first, mask, 12)
    assert len(set(segmenter.told[-1])) == 12


def test_a_mask_without_error_is_not_clicked_and_stays() -> None:
    segmenter, watch = Paints("a", MASK), Stopwatch()
    first, mask = ask(segmenter)
    answers = one_by_one(first, mask, 3, watch)
    assert all((answer == mask).all() for answer in answers) and len(answers) == 3
    assert not segmenter.told and watch.clicks == 0


def test_real_models_are_told_points_of_their_own_errors() -> None:
    model = small_model().eval()
    torch.nn.init.normal_(model.interactor.residual.weight, std=0.5)
    batch = small_batch(1)
    mask, watch = batch.original_masks[0].numpy(), Stopwatch()
    for segmenter in (SamSegmenter(model), PiSamSegmenter(model)):
        first = answer_of(segmenter, batch)
        answers = one_by_one(first, mask, 3, watch)
        assert (answers[0] != first.mask()).any()
        assert answers[0].shape == (SIDE, SIDE)
    assert watch.clicks == 6 and watch.seconds > 0
