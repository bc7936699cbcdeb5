"""How a mask improves with clicks: all at once, or one by one on the model's own errors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import torch
from torch import Tensor

from pisam.clicks.simulate import simulate_clicks
from pisam.core.types import Clicks
from pisam.evaluation.interaction.common_error import mask_at_original
from pisam.evaluation.interaction.controls import first_clicks, to_frame
from pisam.modeling.segmenters import Segmenter, State

READINGS = (1, 2, 3, 5, 10, 20)  # numbers of clicks at which curves are read
TARGETS = (85, 90, 95)  # percent IoU of the number-of-clicks scores


@dataclass
class Stopwatch:
    """Time that answers to single clicks took.

    Attributes:
        seconds: in all.
        clicks: their number.
    """

    seconds: float = 0.0
    clicks: int = 0

    def after(self, segmenter: Segmenter, state: State, clicks: Clicks) -> State:
        """The segmenter's answer, timed until the device has it."""
        _wait(state.logits)
        start = time.perf_counter()
        answer = segmenter.after(state, clicks)
        _wait(answer.logits)
        self.seconds += time.perf_counter() - start
        self.clicks += 1
        return answer


def readings(most: int) -> list[int]:
    """The numbers of clicks up to `most` at which a curve is read; `most` itself is one of them."""
    return [number for number in READINGS if number < most] + [most]


def single_shot(
    segmenter: Segmenter, first: State, clicks: Clicks, size: Sequence[int], numbers: Sequence[int]
) -> Iterator[State]:
    """The answers to the first k clicks, given at once, for each k of `numbers` (ascending).

    Args:
        segmenter: the model.
        first: its answer to the box.
        clicks: of one image, in pixels of its original; where there are fewer than k, all of them are given.
        size: (H, W) of the original.
        numbers: of clicks.
    """
    frame = to_frame(clicks, size, first.logits.shape[-1]).to(first.logits.device)
    available, given, answer = clicks.points.shape[1], 0, first
    for number in numbers:
        if min(number, available) > given:
            given = min(number, available)
            answer = segmenter.after(first, first_clicks(frame, given))
        yield answer


@dataclass(frozen=True)
class Look:
    """What a simulated user sees of an answer.

    Attributes:
        mask: bool (H, W), the answer at the original size, on the CPU.
        click: the next click on it, one row; not valid where nothing is left to click.
    """

    mask: Tensor
    click: Clicks


def iterative(
    segmenter: Segmenter,
    first: State,
    mask: Tensor,
    rounds: int,
    *,
    connectivity: int,
    watch: Stopwatch,
    looking: Executor,
) -> Iterator[Future[Look]]:
    """The answers after each of `rounds` clicks, one a round, each on the largest error that is left.

    The click is the deepest pixel of the largest component of the model's own current error, in the original
    size; a pixel is clicked once. The model is told all clicks so far. A mask without error stays as it is.

    Args:
        segmenter: the model.
        first: its answer to the box.
        mask: bool (H, W), on the CPU.
        rounds: number of clicks.
        connectivity: of components, 4 or 8.
        watch: notes how long each answer took.
        looking: looks for the next click, so that another model may be asked meanwhile.

    Yields:
        `rounds` of them, each as soon as the model has answered.

    Source: the number-of-clicks protocol of interactive segmentation, as in RITM.
    """
    state, clicks, unclicked = first, Clicks.none(1), torch.ones_like(mask)
    seen = looking.submit(_look, first, mask, unclicked, connectivity)
    for _ in range(rounds):
        new = seen.result().click
        if new.valid.any():
            x, y = new.points[0, 0].long()
            unclicked[y, x] = False
            clicks = _joined(clicks, new)
            in_frame = to_frame(clicks, mask.shape, first.logits.shape[-1])
            state = watch.after(segmenter, state, in_frame.to(first.logits.device))
            seen = looking.submit(_look, state, mask, unclicked, connectivity)
        yield seen


def _look(state: State, mask: Tensor, unclicked: Tensor, connectivity: int) -> Look:
    answer = mask_at_original(state, mask.shape)
    # The seed decides nothing: the deepest pixel is a function of the error alone.
    click = simulate_clicks(
        answer[None, None],
        mask[None, None],
        seeds=[0],
        policy="centre",
        max_clicks=1,
        connectivity=connectivity,
        region=((answer ^ mask) & unclicked)[None, None],
    )
    return Look(answer, click)


def number_of_clicks(scores: Sequence[float], target: float) -> tuple[int, bool]:
    """How many clicks reached a score, and whether they failed to.

    Args:
        scores: before any click, then after each click.
        target: the score to reach.

    Returns:
        the fewest clicks whose score is at least `target`, 0 where the box alone does it, and False; or the
        number of all clicks, and True (as the NoC and NoF of interactive segmentation are counted).
    """
    reached = next((clicks for clicks, score in enumerate(scores) if score >= target), None)
    return (len(scores) - 1, True) if reached is None else (reached, False)


def _joined(clicks: Clicks, new: Clicks) -> Clicks:
    return Clicks(
        points=torch.cat([clicks.points, new.points], dim=1),
        labels=torch.cat([clicks.labels, new.labels], dim=1),
        valid=torch.cat([clicks.valid, new.valid], dim=1),
    )


def _wait(value: Tensor) -> None:
    if value.is_cuda:
        torch.cuda.synchronize(value.device)
