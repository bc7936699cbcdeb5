"""One model on one image of the interaction benchmark: all that it is asked, scored beside the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pisam.core.seeding import derive_seed
from pisam.core.types import Clicks
from pisam.evaluation.interaction.common_error import ClickedImage, mask_at_original
from pisam.evaluation.interaction.controls import (
    NEAR,
    anywhere,
    collateral,
    exchanged,
    first_clicks,
    gain_away,
    near_clicks,
    share_obeyed,
    spoilt,
    to_frame,
)
from pisam.evaluation.interaction.curves import (
    TARGETS,
    Look,
    Stopwatch,
    iterative,
    number_of_clicks,
    readings,
    single_shot,
)
from pisam.evaluation.interaction.masks import When
from pisam.evaluation.rows import Row
from pisam.evaluation.threads import Threads
from pisam.metrics.image_scores import all_scores
from pisam.metrics.known_mask import KnownMask
from pisam.metrics.levels import levels_at_original
from pisam.metrics.region import region_scores
from pisam.modeling.segmenters import Segmenter, State

SCORES = ("iou", "biou", "max_f", "mae", "hce")
Scores = Future[dict[str, float]]
Keep = Callable[[str, When, str, str, npt.NDArray[np.bool_]], None]
NOISE = 0.2  # share of the clicks that is spoilt in the control `noisy`


@dataclass(frozen=True)
class BenchmarkSettings:
    """What the numbers depend on beside models, images and clicks.

    Attributes:
        clicks: how many of an image's clicks are given for before and after.
        rounds: clicks of the longest curve, and of the number-of-clicks scores.
        connectivity: of error components in the iterative protocol.
        seed: of the controls with random places and with noise.
    """

    clicks: int
    rounds: int
    connectivity: int
    seed: int


@dataclass
class Asked:
    """What was asked of one model on one image, while threads still score the answers.

    Attributes:
        heading: the first columns of the row.
        before: scores of the answer to the box.
        after: scores of the answer to the clicks, and the columns on what happened at and away from them.
        controls: column -> IoU of the answer to the clicks of a control.
        at_once: number of clicks -> scores of the single-shot protocol.
        rounds: the rest of the iterative protocol.
        trial: who asks.
        one_by_one: scores of the iterative protocol after each click so far; `biou` where it is shown.
    """

    heading: Row
    before: Scores
    after: Future[tuple[dict[str, float], Row]]
    controls: dict[str, Scores]
    at_once: dict[int, Scores]
    rounds: Iterator[Future[Look]]
    trial: Trial
    one_by_one: list[Scores] = field(default_factory=list)

    def click_once_more(self) -> None:
        """One round of the iterative protocol."""
        look = next(self.rounds)
        boundary = len(self.one_by_one) + 1 in self.at_once
        self.one_by_one.append(
            self.trial.threads.score.submit(self.trial.score_look, look, boundary=boundary)
        )

    def image_row(self) -> Row:
        """The row of `per_image.csv`, once all is scored."""
        before, (after, at_clicks), row = self.before.result(), self.after.result(), dict(self.heading)
        for score in SCORES:
            start, end = before[score], after[score]
            row |= {f"{score}_before": start, f"{score}_after": end, f"{score}_gain": end - start}
        row |= {column: scores.result()["iou"] - before["iou"] for column, scores in self.controls.items()}
        row |= at_clicks
        ious = [before["iou"], *(scores.result()["iou"] for scores in self.one_by_one)]
        for target in TARGETS:
            row[f"noc_{target}"], failed = number_of_clicks(ious, target / 100)
            row[f"nof_{target}"] = int(failed)
        return row

    def curve_rows(self) -> list[Row]:
        """The rows of `per_image_curves.csv`."""
        names = {column: self.heading[column] for column in ("model", "set", "image")}
        before = self.before.result()
        at_once = {number: scores.result() for number, scores in self.at_once.items()}
        one_by_one = {number: self.one_by_one[number - 1].result() for number in self.at_once}
        return [
            {**names, "protocol": protocol, "clicks": number, "iou": scores["iou"], "biou": scores["biou"]}
            for protocol, points in (("single-shot", at_once), ("iterative", one_by_one))
            for number, scores in ({0: before} | points).items()
        ]


class Trial:
    """An image on which one model after the other is clicked.

    Args:
        image: the clicks.
        mask: bool (H, W), on the CPU.
        settings: of the benchmark.
        threads: work while the models answer.
    """

    def __init__(
        self, image: ClickedImage, mask: Tensor, settings: BenchmarkSettings, threads: Threads
    ) -> None:
        self.image, self.mask, self.settings, self.threads = image, mask, settings, threads
        self.clicks, self.true = image.as_clicks(), KnownMask(mask.numpy())
        self._before: dict[int, Scores] = {}  # by the answer to the box, which two models may have in common

    def ask(self, segmenter: Segmenter, first: State, watch: Stopwatch, keep: Keep | None) -> Asked:
        """Ask a model all but the iterative protocol, see `Asked.click_once_more`.

        Args:
            segmenter: the model.
            first: its answer to the box.
            watch: notes how long answers to single clicks take.
            keep: as in `benchmark_image`.
        """
        settings, size, clicks, scoring = self.settings, self.mask.shape, self.clicks, self.threads.score
        given, numbers = first_clicks(clicks, settings.clicks), readings(settings.rounds)
        shots = sorted({*numbers, settings.clicks})
        states = dict(zip(shots, single_shot(segmenter, first, clicks, size, shots), strict=True))
        seed = derive_seed(settings.seed, "controls", self.image.set, self.image.image)
        controls = {
            "iou_gain_flipped": exchanged(given),
            "iou_gain_random": anywhere(given, size, seed),
            "iou_gain_noisy": spoilt(given, size, seed, NOISE),
        }
        if id(first) not in self._before:
            self._before[id(first)] = scoring.submit(self.score_all, first)
        return Asked(
            heading={
                "model": segmenter.name,
                "set": self.image.set,
                "image": self.image.image,
                "common_area": self.image.common_area,
                "clicks": given.points.shape[1],
            },
            before=self._before[id(first)],
            after=scoring.submit(self.compare, segmenter.name, first, states[settings.clicks], given, keep),
            controls={
                column: scoring.submit(self.score, _answer(segmenter, first, to, size))
                for column, to in controls.items()
            },
            at_once={number: scoring.submit(self.score, states[number], boundary=True) for number in numbers},
            rounds=iterative(
                segmenter,
                first,
                self.mask,
                settings.rounds,
                connectivity=settings.connectivity,
                watch=watch,
                looking=self.threads.look,
            ),
            trial=self,
        )

    def score_all(self, state: State) -> dict[str, float]:
        """`SCORES` of an answer."""
        return all_scores(levels_at_original(state.logits[0], self.mask), self.true, SCORES)

    def compare(
        self, model: str, first: State, repaired: State, given: Clicks, keep: Keep | None
    ) -> tuple[dict[str, float], Row]:
        """Scores of the answer to the clicks; what happened at and away from them. Both masks are kept."""
        before, after = (mask_at_original(state, self.mask.shape) for state in (first, repaired))
        if keep is not None:
            keep(model, "before", self.image.set, self.image.image, before.numpy())
            keep(model, "after", self.image.set, self.image.image, after.numpy())
        away = ~near_clicks(given.points[0], self.mask.shape, NEAR)
        return self.score_all(repaired), {
            "iou_gain_away": gain_away(before, after, self.mask, away),
            "clicked_flipped": share_obeyed(after, given),
            "collateral": collateral(before, after, self.mask, away),
        }

    def score(self, state: State, *, boundary: bool = False) -> dict[str, float]:
        """`iou` and, if asked for, `biou` of an answer."""
        answer = mask_at_original(state, self.mask.shape)
        return region_scores(answer.numpy(), self.true, boundary=boundary)

    def score_look(self, look: Future[Look], *, boundary: bool) -> dict[str, float]:
        """The same of an answer that another thread looks at."""
        return region_scores(look.result().mask.numpy(), self.true, boundary=boundary)


def _answer(segmenter: Segmenter, first: State, clicks: Clicks, size: Sequence[int]) -> State:
    in_frame = to_frame(clicks, size, first.logits.shape[-1])
    return segmenter.after(first, in_frame.to(first.logits.device))
