"""One model on one image of the interaction benchmark: all that it is asked, scored beside the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pisam.evaluation.click_controls import (
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
from pisam.evaluation.click_curves import (
    TARGETS,
    Stopwatch,
    iterative,
    number_of_clicks,
    readings,
    single_shot,
)
from pisam.evaluation.common_error import ClickedImage, mask_at_original
from pisam.evaluation.evaluate import levels_at_original
from pisam.evaluation.interaction_masks import When
from pisam.evaluation.rows import Row
from pisam.evaluation.segmenters import Segmenter, State
from pisam.metrics.image_scores import all_scores
from pisam.metrics.known_mask import KnownMask
from pisam.metrics.levels import OBJECT_ABOVE
from pisam.metrics.region import region_scores
from pisam.seeding import derive_seed
from pisam.types import Clicks

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


@dataclass(frozen=True)
class Asked:
    """What was asked of one model on one image, while threads still score the answers.

    Attributes:
        heading: the first columns of the row.
        before, after: scores of the answers to the box and to the clicks.
        controls: column -> IoU of the answer to the clicks of a control.
        at_clicks: the columns on what happened at and away from the clicks.
        curves: protocol -> number of clicks -> `iou` and, where it is shown, `biou`.
        kept: masks being written.
    """

    heading: Row
    before: Scores
    after: Scores
    controls: dict[str, Scores]
    at_clicks: Row
    curves: dict[str, dict[int, Scores]]
    kept: Sequence[Future[None]]

    def image_row(self) -> Row:
        """The row of `per_image.csv`, once all is scored."""
        for file in self.kept:
            file.result()
        old, new, row = self.before.result(), self.after.result(), dict(self.heading)
        for score in SCORES:
            start, end = old[score], new[score]
            row |= {f"{score}_before": start, f"{score}_after": end, f"{score}_gain": end - start}
        row |= {column: scores.result()["iou"] - old["iou"] for column, scores in self.controls.items()}
        row |= self.at_clicks
        ious = [scores.result()["iou"] for scores in self.curves["iterative"].values()]
        for target in TARGETS:
            row[f"noc_{target}"], failed = number_of_clicks(ious, target / 100)
            row[f"nof_{target}"] = int(failed)
        return row

    def curve_rows(self, shown: Sequence[int]) -> list[Row]:
        """The rows of `per_image_curves.csv` at some numbers of clicks."""
        names = {column: self.heading[column] for column in ("model", "set", "image")}
        return [
            {**names, "protocol": protocol, "clicks": number}
            | {score: points[number].result()[score] for score in ("iou", "biou")}
            for protocol, points in self.curves.items()
            for number in shown
        ]


class Trial:
    """An image on which one model after the other is clicked.

    Args:
        image: the clicks.
        mask: bool (H, W), on the CPU.
        settings: of the benchmark.
        threads: score while the next answers are computed.
    """

    def __init__(
        self, image: ClickedImage, mask: Tensor, settings: BenchmarkSettings, threads: Executor
    ) -> None:
        self.image, self.mask, self.settings, self.threads = image, mask, settings, threads
        self.clicks, self.true = image.as_clicks(), KnownMask(mask.numpy())
        self.before: dict[int, Scores] = {}  # by the answer to the box, which two models may have in common

    def ask(self, segmenter: Segmenter, first: State, watch: Stopwatch, keep: Keep | None) -> Asked:
        """Ask a model for all its answers; arguments as in `benchmark_image`, `watch` notes single clicks."""
        settings, size, clicks = self.settings, self.mask.shape, self.clicks
        numbers = readings(settings.rounds)
        shots = sorted({*numbers, settings.clicks})
        states = dict(zip(shots, single_shot(segmenter, first, clicks, size, shots), strict=True))
        old, new = (levels_at_original(s.logits[0], self.mask) for s in (first, states[settings.clicks]))
        before, after = (torch.from_numpy(levels > OBJECT_ABOVE) for levels in (old, new))
        if id(first) not in self.before:
            self.before[id(first)] = self.threads.submit(all_scores, old, self.true, SCORES)
        scored = self.before[id(first)], self.threads.submit(all_scores, new, self.true, SCORES)

        given = first_clicks(clicks, settings.clicks)
        seed = derive_seed(settings.seed, "controls", self.image.set, self.image.image)
        controls = {
            "iou_gain_flipped": exchanged(given),
            "iou_gain_random": anywhere(given, size, seed),
            "iou_gain_noisy": spoilt(given, size, seed, NOISE),
        }
        one_by_one = iterative(
            segmenter, first, self.mask, settings.rounds, connectivity=settings.connectivity, watch=watch
        )
        away = ~near_clicks(given.points[0], size, NEAR)
        masks: dict[When, Tensor] = {"before": before, "after": after}
        name = segmenter.name, self.image.set, self.image.image
        return Asked(
            heading={
                **dict(zip(("model", "set", "image"), name, strict=True)),
                "common_area": self.image.common_area,
                "clicks": given.points.shape[1],
            },
            before=scored[0],
            after=scored[1],
            controls={
                column: self._score(mask_at_original(_answer(segmenter, first, to, size), size))
                for column, to in controls.items()
            },
            at_clicks={
                "iou_gain_away": gain_away(before, after, self.mask, away),
                "clicked_flipped": share_obeyed(after, given),
                "collateral": collateral(before, after, self.mask, away),
            },
            curves={
                "single-shot": {0: scored[0]}
                | {k: self._score(mask_at_original(states[k], size), boundary=True) for k in numbers},
                "iterative": {0: scored[0]}
                | {
                    number: self._score(answer, boundary=number in numbers)
                    for number, answer in enumerate(one_by_one, start=1)
                },
            },
            kept=[
                self.threads.submit(keep, name[0], when, *name[1:], mask.numpy())
                for when, mask in masks.items()
                if keep is not None
            ],
        )

    def _score(self, answer: Tensor, *, boundary: bool = False) -> Scores:
        return self.threads.submit(region_scores, answer.numpy(), self.true, boundary=boundary)


def _answer(segmenter: Segmenter, first: State, clicks: Clicks, size: Sequence[int]) -> State:
    in_frame = to_frame(clicks, size, first.logits.shape[-1])
    return segmenter.after(first, in_frame.to(first.logits.device))
