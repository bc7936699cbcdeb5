"""One model on one image of the benchmark: click, ask, look, click again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from pisam.clicks.components import error_map
from pisam.clicks.guarantee import share_obeyed
from pisam.clicks.policies import deepest_click, human_click
from pisam.core.seeding import derive_seed
from pisam.core.types import BoolArray, Click, UInt8Array
from pisam.data.prompts import points_on
from pisam.data.transforms import box_of
from pisam.evaluation.benchmark.entrant import Box, Clicks, Entrant, as_logits, at_most
from pisam.evaluation.benchmark.record import ClickProtocol, ImageRecord
from pisam.evaluation.interaction.controls import (
    NEAR,
    NOISE,
    anywhere,
    collateral,
    exchanged,
    gain_away,
    near_clicks,
    spoilt,
)
from pisam.evaluation.parallel import Threads
from pisam.metrics.functional import KnownMask, region_scores

Scores = Future[dict[str, float]]


@dataclass(frozen=True)
class Scene:
    """An image of the benchmark."""

    set: str  # name of its data set
    image: str  # its id there
    pixels: UInt8Array  # uint8 (H, W, 3) RGB
    mask: BoolArray  # bool (H, W), with an object
    unknown: BoolArray | None  # bool (H, W), pixels that count neither way; None where there are none
    sha256: str  # of the image file
    mask_sha256: str  # of the mask file


class Asked:
    """Clicks on an image, which is encoded here, and a model's answers of at most `limit` seconds each."""

    def __init__(
        self, entrant: Entrant, scene: Scene, protocol: ClickProtocol, threads: Threads, limit: float | None
    ) -> None:
        self.entrant, self.scene, self.protocol = entrant, scene, protocol
        self.threads, self.limit = threads, limit
        self.truth = scene.mask if scene.unknown is None else scene.mask & ~scene.unknown
        self.known_truth = KnownMask(self.truth)
        edges = box_of(scene.mask).tolist()
        self.prompt: Box | None = tuple(edges) if protocol.prompt == "box" else None
        self.rng = np.random.default_rng(derive_seed(protocol.seed, protocol.id, scene.set, scene.image))
        with at_most(limit):
            entrant.encode(scene.pixels.copy())  # others are asked about the same image

    def ask(self, clicks: Sequence[Click], previous: Any | None) -> tuple[Any, BoolArray, float]:
        """The model's own answer, its mask bool (H, W), and the seconds until it was there.

        Raises:
            WrongAnswer: see `as_logits`; or it took too long.
        """
        rows: Clicks = np.array(clicks, dtype=np.float64).reshape(-1, 3)
        start = time.perf_counter()
        with at_most(self.limit):
            answer = self.entrant.answer(self.prompt, rows, previous)
            height, width = self.truth.shape
            logits = as_logits(answer, (height, width))
        seconds = time.perf_counter() - start
        mask: BoolArray = logits > self.protocol.threshold
        return answer, (mask if self.scene.unknown is None else mask & ~self.scene.unknown), seconds

    def score(self, mask: BoolArray) -> Scores:
        """IoU and boundary IoU of an answer."""
        return self.threads.score.submit(region_scores, mask, self.known_truth)

    def next_click(self, seen: BoolArray, clicked: BoolArray) -> Click | None:
        """Next click of the protocol's user on `seen`; None where nothing is left to click."""
        errors = error_map(seen ^ self.truth, self.truth)
        if self.protocol.user == "human":
            pixel = human_click(errors, self.rng, clicked, self.protocol.jitter)
        else:
            pixel = deepest_click(errors, clicked)
        return None if pixel is None else (pixel[0] + 0.5, pixel[1] + 0.5, pixel[2])


def click_scene(
    entrant: Entrant,
    scene: Scene,
    protocol: ClickProtocol,
    threads: Threads,
    *,
    limit: float | None = None,
    with_controls: bool = True,
) -> ImageRecord:
    """All clicks of the protocol on an image, and the controls.

    Raises:
        WrongAnswer: the model did something else than answer; what it raises itself passes through.
    """
    asked = Asked(entrant, scene, protocol, threads, limit)
    clicks: list[Click] = []
    seconds: list[float] = []
    masks, scores = [np.zeros_like(scene.mask)], []
    first = last = None  # answers, which may hold much
    if asked.prompt is not None:
        last, masks[0], _ = asked.ask([], None)
        first = own_copy(last)
    start = asked.score(masks[0])
    clicked = np.zeros_like(scene.mask)
    points = points_on(asked.truth, protocol.clicks, asked.rng) if protocol.prompt == "points" else None
    for number in range(protocol.clicks):
        if points is not None:
            new: Click | None = (float(points[number, 0]), float(points[number, 1]), 1)
        else:
            late = masks[max(0, len(masks) - 1 - protocol.delay)]
            new = asked.next_click(late, clicked) or asked.next_click(masks[-1], clicked)
        if new is None:
            break
        clicks.append(new)
        clicked[int(new[1]), int(new[0])] = True
        last, mask, took = asked.ask(clicks, last)
        first = own_copy(last) if first is None else first
        masks.append(mask)
        scores.append(asked.score(mask))
        seconds.append(took)
    measured = controls(asked, clicks, first, masks) if with_controls and first is not None else {}
    height, width = scene.mask.shape
    results = [each.result() for each in scores]
    before = start.result()
    return ImageRecord(
        scene.set,
        scene.image,
        scene.sha256,
        scene.mask_sha256,
        width,
        height,
        (before["iou"], before["biou"]) if asked.prompt is not None else None,
        tuple(clicks),
        tuple(each["iou"] for each in results),
        tuple(each["biou"] for each in results),
        tuple(seconds),
        measured,
    )


def own_copy(answer: Any) -> Any:
    """An answer that nothing written into the other changes; the other itself where it cannot be copied."""
    if hasattr(answer, "detach"):
        return answer.detach().clone()  # a tensor with its graph cannot be copied otherwise
    try:
        return deepcopy(answer)
    except Exception:  # a model's own object may hold anything
        return answer


def controls(
    asked: Asked, clicks: Sequence[Click], first: Any, masks: Sequence[BoolArray]
) -> dict[str, float]:
    """Ask clicks that say something else, and look what the clicks did at and away from them.

    The prompt stays: the box, else the first click. All others are given at once on the first answer.

    Returns:
        `labels_exchanged`, `random_places`, `spoilt`: the gain in IoU over the first answer when the other
        clicks have the other label, lie anywhere, or a fifth of them is spoilt so; `away`: the gain of the
        last answer on the pixels farther than 10 from all clicks; `collateral`: the share of those pixels,
        right at first, that are wrong at last; `obeyed`: the share of all clicks that the last answer obeys.
        Nothing where the prompt was the only click.
    """
    kept = 0 if asked.prompt is not None else 1
    others = clicks[kept:]
    if not others:
        return {}
    before, after, truth = masks[kept], masks[-1], asked.truth
    height, width = truth.shape
    seed = derive_seed(asked.protocol.seed, "controls", asked.scene.set, asked.scene.image)
    changed = {
        "labels_exchanged": exchanged(others),
        "random_places": anywhere(others, (height, width), seed),
        "spoilt": spoilt(others, (height, width), seed, NOISE),
    }
    start = region_scores(before, asked.known_truth, boundary=False)["iou"]
    gains = {}
    asks = getattr(asked.entrant, "answers_controls", True)
    for name, control in changed.items() if asks else ():
        _, mask, _ = asked.ask([*clicks[:kept], *control], own_copy(first))
        gains[name] = region_scores(mask, asked.known_truth, boundary=False)["iou"] - start
    away = ~near_clicks(clicks, (height, width), NEAR)
    return gains | {
        "away": gain_away(before, after, truth, away),
        "obeyed": share_obeyed(after, clicks),
        "collateral": collateral(before, after, truth, away),
    }
