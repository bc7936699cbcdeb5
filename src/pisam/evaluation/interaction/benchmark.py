"""The interaction benchmark: every model gets the same clicks, on the common error of all (supplement C)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np

from pisam.clicks.components import locally_repaired
from pisam.clicks.guarantee import share_obeyed
from pisam.core.errors import PisamError
from pisam.core.seeding import derive_seed
from pisam.core.types import Batch, BoolArray, Click
from pisam.evaluation.interaction.click_file import ClickedImage
from pisam.evaluation.interaction.controls import (
    NOISE,
    anywhere,
    collateral,
    exchanged,
    gain_away,
    near_clicks,
    spoilt,
)
from pisam.evaluation.interaction.curves import TARGETS, Look, Stopwatch, iterative, readings, single_shot
from pisam.evaluation.interaction.models import levels_of
from pisam.evaluation.parallel import Threads
from pisam.evaluation.rows import Row, changes
from pisam.metrics.functional import KnownMask, region_scores
from pisam.metrics.image_scores import score_image
from pisam.metrics.number_of_clicks import clicks_needed, nof
from pisam.predictor.session import Answer

SCORES = ("iou", "biou", "max_f", "mae", "hce")

Scores = dict[str, float]
Keep = Callable[[str, str, str, str, BoolArray], object]


@dataclass(frozen=True)
class BenchmarkSettings:
    """Settings that the numbers depend on, beside models, images and clicks."""

    clicks: int  # how many of an image's clicks are given for before and after
    rounds: int  # clicks of the longest curve, and of the number-of-clicks scores
    connectivity: int  # of error components in the iterative protocol and in the oracle
    seed: int  # of the controls with random places and with noise


@dataclass
class BenchmarkRows:
    """The measurements of a benchmark."""

    images: list[Row] = field(default_factory=list)  # a row per model and image, see `benchmark_image`
    curves: list[Row] = field(default_factory=list)  # a row per model, image, protocol and number of clicks
    # per model, the time of the answers to single clicks
    watches: dict[str, Stopwatch] = field(default_factory=dict)

    def add(self, other: BenchmarkRows) -> None:
        """Add what was measured on other images."""
        self.images += other.images
        self.curves += other.curves
        for model, watch in other.watches.items():
            total = self.watches.setdefault(model, Stopwatch())
            total.seconds += watch.seconds
            total.clicks += watch.clicks


def benchmark_image(
    firsts: Mapping[str, Answer],
    batch: Batch,
    image: ClickedImage,
    settings: BenchmarkSettings,
    threads: Threads,
    *,
    keep: Keep | None = None,
) -> BenchmarkRows:
    """Give each model the same clicks on an image and compare its masks before and after, at original size.

    Args:
        firsts: the answer to the box of each model, by its name; several may share a state.
        batch: the validation sample, one.
        image: the clicks on it.
        settings: see there.
        threads: work while the models answer.
        keep: called with (model, "before" or "after", set, image, mask bool (H, W)) of each first and
            repaired answer.

    Returns:
        A row per model: `model`, `set`, `image`, `common_area`, `clicks` (given); `before`, `after`, `gain`
        of each score (after less before: below 0 is better for `mae` and `hce`); `oracle`, the gain in IoU if
        exactly the clicked components of the model's error were repaired, and `oracle_share`, the share of it
        that was reached; the gain in IoU with the labels exchanged (`labels_exchanged`), with the same labels
        at random places (`random_places`), with a share `NOISE` of the clicks spoilt (`iou_gain_noisy`) and
        without the pixels within `NEAR` of a click (`iou_gain_away`); the share of the clicked pixels that
        have their label afterwards, from the network alone (`obeyed`) and with the guarantee
        (`obeyed_guaranteed`); `collateral`, the share of the pixels farther than `NEAR` from all clicks and
        right before that are wrong after; `noc_85` and so on, how many clicks of the iterative protocol reach
        that IoU in percent (`rounds` where none does), `nof_85`, 1 where none does. Rows of curves:
        `protocol` (single-shot, iterative), `clicks`, `iou`, `biou`, `oracle` (the gain if the components
        clicked so far were repaired); 0 clicks is the box alone.

    Raises:
        PisamError: a click does not lie on the image or mask that it was made for.
    """
    mask = batch.original_masks[0].cpu().numpy()
    _refuse_unfit(image, batch, mask)
    trial = _Trial(image, mask, settings, threads, keep)
    watches = {name: Stopwatch() for name in firsts}
    asked = [trial.ask(name, first, watches[name]) for name, first in firsts.items()]
    # In turn: while the next click on one model's answer is looked for, the others are asked.
    for _ in range(settings.rounds):
        for each in asked:
            each.click_once_more()
    return BenchmarkRows(
        images=[each.image_row() for each in asked],
        curves=[row for each in asked for row in each.curve_rows()],
        watches=watches,
    )


@dataclass
class _Asked:
    """One model's answers on one image, while threads still score them."""

    heading: Row  # the first columns of the row
    before: Future[Scores]  # scores of the answer to the box
    # scores of the answer to the clicks, and the columns on what happened at and away from them
    after: Future[tuple[Scores, Row]]
    controls: dict[str, Future[Scores]]  # column -> IoU of the answer to the clicks of a control
    at_once: dict[int, Future[Scores]]  # number of clicks -> scores of the single-shot protocol
    rounds: Iterator[tuple[Future[Look], BoolArray]]  # the rest of the iterative protocol
    trial: _Trial  # who asks
    first: Answer
    # scores of the iterative protocol after each click so far; `biou` where it is shown
    one_by_one: list[Future[Scores]] = field(default_factory=list)

    def click_once_more(self) -> None:
        """One round of the iterative protocol."""
        look, clicked = next(self.rounds)
        shown = len(self.one_by_one) + 1 in self.at_once
        self.one_by_one.append(
            self.trial.threads.score.submit(self.trial.score_look, look, self.first, clicked, shown)
        )

    def image_row(self) -> Row:
        """The row of `per_image.csv`, once all is scored."""
        before, (after, at_clicks) = self.before.result(), self.after.result()
        row = self.heading | changes(before, after, SCORES)
        row |= share_of_oracle(after["iou"] - before["iou"], after["oracle"] - before["iou"])
        row |= {column: scores.result()["iou"] - before["iou"] for column, scores in self.controls.items()}
        row |= at_clicks
        ious = [[before["iou"], *(scores.result()["iou"] for scores in self.one_by_one)]]
        for target in TARGETS:
            row[f"noc_{target}"] = int(clicks_needed(ious, target / 100, first=0)[0])
            row[f"nof_{target}"] = nof(ious, target / 100)
        return row

    def curve_rows(self) -> list[Row]:
        """The rows of `per_image_curves.csv`."""
        names = {column: self.heading[column] for column in ("model", "set", "image")}
        before = self.before.result()
        start = {**before, "oracle": before["iou"]}
        at_once = {number: scores.result() for number, scores in self.at_once.items()}
        one_by_one = {number: self.one_by_one[number - 1].result() for number in self.at_once}
        return [
            {
                **names,
                "protocol": protocol,
                "clicks": number,
                "iou": scores["iou"],
                "biou": scores["biou"],
                "oracle": scores["oracle"] - before["iou"],
            }
            for protocol, points in (("single-shot", at_once), ("iterative", one_by_one))
            for number, scores in ({0: start} | points).items()
        ]


class _Trial:
    """An image on which one model after the other is clicked; arguments as in `benchmark_image`."""

    def __init__(
        self,
        image: ClickedImage,
        mask: BoolArray,
        settings: BenchmarkSettings,
        threads: Threads,
        keep: Keep | None,
    ) -> None:
        self.image, self.mask, self.settings, self.threads, self.keep = image, mask, settings, threads, keep
        self.true = KnownMask(mask)
        self._before: dict[int, Future[Scores]] = {}  # by the state after the box, which models may share

    def ask(self, name: str, first: Answer, watch: Stopwatch) -> _Asked:
        """Ask a model all but the iterative protocol, see `_Asked.click_once_more`."""
        settings, clicks, scoring = self.settings, self.image.clicks, self.threads.score
        size = self.mask.shape[0], self.mask.shape[1]
        given, numbers = clicks[: settings.clicks], readings(settings.rounds)
        shots = sorted({*numbers, settings.clicks})
        answers = dict(zip(shots, single_shot(first, clicks, shots), strict=True))
        seed = derive_seed(settings.seed, "controls", self.image.set, self.image.image)
        controls = {
            "labels_exchanged": exchanged(given),
            "random_places": anywhere(given, size, seed),
            "iou_gain_noisy": spoilt(given, size, seed, NOISE),
        }
        if id(first.state) not in self._before:
            self._before[id(first.state)] = scoring.submit(self.score_all, first)
        return _Asked(
            heading={
                "model": name,
                "set": self.image.set,
                "image": self.image.image,
                "common_area": self.image.common_area,
                "clicks": len(given),
            },
            before=self._before[id(first.state)],
            after=scoring.submit(self.compare, name, first, answers[settings.clicks]),
            controls={column: scoring.submit(self.score, first.after(to)) for column, to in controls.items()},
            at_once={
                number: scoring.submit(self.score_shown, first, answers[number], clicks[:number])
                for number in numbers
            },
            rounds=iterative(
                first,
                self.mask,
                settings.rounds,
                connectivity=settings.connectivity,
                watch=watch,
                looking=self.threads.look,
            ),
            trial=self,
            first=first,
        )

    def compare(self, model: str, first: Answer, repaired: Answer) -> tuple[Scores, Row]:
        """Scores of the answer to the clicks; what happened at and away from them. Both masks are kept."""
        before, after, clicks = first.mask(), repaired.mask(), repaired.clicks
        if self.keep is not None:
            self.keep(model, "before", self.image.set, self.image.image, before)
            self.keep(model, "after", self.image.set, self.image.image, after)
        away = ~near_clicks(clicks, self.mask.shape)
        scores = self.score_all(repaired) | {"oracle": self.oracle(before, clicks)}
        return scores, {
            "iou_gain_away": gain_away(before, after, self.mask, away),
            **obedience(repaired),
            "collateral": collateral(before, after, self.mask, away),
        }

    def score_all(self, answer: Answer) -> Scores:
        """`SCORES` of an answer."""
        return score_image(levels_of(answer), self.true, SCORES, answer.ignored).values

    def score(self, answer: Answer) -> Scores:
        """`iou` of an answer."""
        return region_scores(answer.mask(), self.true, boundary=False)

    def score_shown(self, first: Answer, answer: Answer, clicks: Sequence[Click]) -> Scores:
        """`iou` and `biou` of an answer, and `oracle`, the IoU with the clicked components repaired."""
        return region_scores(answer.mask(), self.true) | {"oracle": self.oracle(first.mask(), clicks)}

    def score_look(self, look: Future[Look], first: Answer, clicked: BoolArray, shown: bool) -> Scores:
        """Score an answer in another thread; `iou` alone where it is not shown."""
        scores = region_scores(look.result().mask, self.true, boundary=shown)
        if shown:
            repaired = np.where(clicked, self.mask, first.mask())
            scores["oracle"] = region_scores(repaired, self.true, boundary=False)["iou"]
        return scores

    def oracle(self, before: BoolArray, clicks: Sequence[Click]) -> float:
        """IoU with exactly the clicked components of the error repaired."""
        repaired = locally_repaired(before, self.mask, clicks, self.settings.connectivity)
        return region_scores(repaired, self.true, boundary=False)["iou"]


def share_of_oracle(gain: float, oracle: float) -> Row:
    """`oracle` and `oracle_share`: a gain beside that of a perfect local repair; NaN where that is none."""
    return {"oracle": oracle, "oracle_share": gain / oracle if oracle > 0 else float("nan")}


def obedience(answer: Answer) -> Row:
    """`obeyed` and `obeyed_guaranteed`: shares of the clicks obeyed by the network alone and guaranteed."""
    shares = (replace(answer, guarantee=guarantee).mask() for guarantee in (False, True))
    alone, guaranteed = (share_obeyed(mask, answer.clicks) for mask in shares)
    return {"obeyed": alone, "obeyed_guaranteed": guaranteed}


def _refuse_unfit(image: ClickedImage, batch: Batch, mask: BoolArray) -> None:
    if (batch.sets[0], batch.ids[0]) != (image.set, image.image):
        raise ValueError(f"clicks of {image.set}/{image.image} on {batch.sets[0]}/{batch.ids[0]}")
    name = f"clicks on {image.set}/{image.image}"
    height, width = mask.shape
    if (width, height) != (image.width, image.height):
        raise PisamError(
            f"{name}: made on {image.width} x {image.height} pixels, the image here has {width} x {height}; "
            "use the images that the clicks were made on"
        )
    if any(mask[int(y), int(x)] != bool(label) for x, y, label in image.clicks):
        raise PisamError(f"{name}: a label contradicts the mask; use the masks that the clicks were made on")
