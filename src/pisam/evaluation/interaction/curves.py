"""Curves of a mask's scores over clicks: all at once, or one by one on the model's own errors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
import torch

from pisam.clicks.components import clicked_errors, error_map
from pisam.clicks.policies import centre_click
from pisam.core.types import BoolArray, Click
from pisam.predictor.session import Answer

READINGS = (1, 2, 3, 5, 10, 20)  # numbers of clicks at which curves are read
TARGETS = (85, 90, 95)  # percent IoU of the number-of-clicks scores


@dataclass
class Stopwatch:
    """Time that answers to single clicks took, until their masks were there at the original size."""

    seconds: float = 0.0  # in all
    clicks: int = 0  # their number

    def after(self, answer: Answer, clicks: Sequence[Click]) -> Answer:
        """The answer after clicks, timed until the device has it; `mask` adds the rest."""
        _wait()
        start = time.perf_counter()
        new = answer.after(clicks)
        _wait()
        self.seconds += time.perf_counter() - start
        self.clicks += 1
        return new

    def mask(self, answer: Answer) -> BoolArray:
        """The answer's mask, timed if it is one to clicks."""
        start = time.perf_counter()
        mask = answer.mask()
        self.seconds += time.perf_counter() - start if answer.clicks else 0
        return mask


def readings(most: int) -> list[int]:
    """The numbers of clicks up to `most` at which a curve is read; `most` itself is one of them."""
    return [number for number in READINGS if number < most] + [most]


def single_shot(first: Answer, clicks: Sequence[Click], numbers: Sequence[int]) -> Iterator[Answer]:
    """The answers to the first k clicks, given at once, for each k of `numbers` (ascending).

    Args:
        first: the answer to the box.
        clicks: in pixels of the original; where there are fewer than k, all of them are given.
        numbers: of clicks.
    """
    given, answer = 0, first
    for number in numbers:
        if min(number, len(clicks)) > given:
            given = min(number, len(clicks))
            answer = first.after(clicks[:given])
        yield answer


@dataclass(frozen=True)
class Look:
    """An answer as a simulated user sees it."""

    mask: BoolArray  # bool (H, W), the answer at the original size
    click: Click | None  # the next click on it; None where nothing is left to click
    error: BoolArray  # bool (H, W), the component of the error that the click lies on


def iterative(
    first: Answer, mask: BoolArray, rounds: int, *, connectivity: int, watch: Stopwatch, looking: Executor
) -> Iterator[tuple[Future[Look], BoolArray]]:
    """The answers after each of `rounds` clicks, one a round, each on the largest error that is left.

    The click is the deepest pixel of the largest component of the model's own current error, in the original
    size; a pixel is clicked once. The model is given all clicks so far. A mask without error stays as it is.

    Args:
        first: the answer to the box.
        mask: bool (H, W).
        rounds: number of clicks.
        connectivity: of components, 4 or 8.
        watch: notes how long each answer took.
        looking: looks for the next click, so that another model may be asked meanwhile.

    Yields:
        `rounds` times, as soon as the model has answered: what is seen of the answer, and bool (H, W), the
        errors that were clicked so far.

    Source: the number-of-clicks protocol of interactive segmentation, as in RITM.
    """
    answer, clicked, unclicked = first, np.zeros_like(mask), np.ones_like(mask)
    seen = looking.submit(_look, answer, mask, unclicked, connectivity, watch)
    for _ in range(rounds):
        look = seen.result()
        if look.click:
            unclicked[int(look.click[1]), int(look.click[0])] = False
            clicked = clicked | look.error
            answer = watch.after(answer, [*answer.clicks, look.click])
            seen = looking.submit(_look, answer, mask, unclicked, connectivity, watch)
        yield seen, clicked


def _look(answer: Answer, mask: BoolArray, unclicked: BoolArray, connectivity: int, watch: Stopwatch) -> Look:
    seen = watch.mask(answer)
    errors = error_map((seen ^ mask) & unclicked, mask)
    pixels = centre_click(errors, connectivity=connectivity).tolist()
    found = [(x + 0.5, y + 0.5, label) for x, y, label in pixels]
    click = found[0] if found else None
    return Look(seen, click, clicked_errors(seen, mask, found, connectivity))


def _wait() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
