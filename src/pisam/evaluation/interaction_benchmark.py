"""The interaction benchmark: every model gets the same clicks, on the common error of all (supplement C)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pisam.errors import PisamError
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
from pisam.evaluation.interaction_masks import When
from pisam.evaluation.rows import Row
from pisam.evaluation.segmenters import Segmenter, State, first_answers
from pisam.metrics.functional import boundary_iou, iou
from pisam.metrics.image_scores import all_scores
from pisam.metrics.levels import logits_to_levels
from pisam.metrics.protocol import logits_to_original
from pisam.seeding import derive_seed
from pisam.types import Batch, Clicks

SCORES = ("iou", "biou", "max_f", "mae", "hce")
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
class BenchmarkRows:
    """What a benchmark measured.

    Attributes:
        images: a row per model and image, see `benchmark`.
        curves: a row per model, image, protocol and number of clicks.
        watches: per model, the time of the answers to single clicks.
    """

    images: list[Row] = field(default_factory=list)
    curves: list[Row] = field(default_factory=list)
    watches: dict[str, Stopwatch] = field(default_factory=dict)

    def add_times(self, watches: Mapping[str, Stopwatch]) -> None:
        """Add the times of another rank."""
        for model, watch in watches.items():
            total = self.watches.setdefault(model, Stopwatch())
            total.seconds += watch.seconds
            total.clicks += watch.clicks


@torch.inference_mode()
def benchmark(
    segmenters: Sequence[Segmenter],
    batches: Iterable[Batch],
    images: Iterable[ClickedImage],
    settings: BenchmarkSettings,
    keep: Keep | None = None,
) -> BenchmarkRows:
    """Give each model the same clicks and compare its masks before and after, at original size.

    Args:
        segmenters: the models, names unique.
        batches: of one validation sample each, on the models' device.
        images: the clicks on each of them, in the same order.
        settings: see there.
        keep: called with (model, "before" or "after", set, image, mask bool (H, W)) of each first and
            repaired answer.

    Returns:
        Rows per image: `model`, `set`, `image`, `common_area`, `clicks` (given); `before`, `after`, `gain` of
        each score (after less before: below 0 is better for `mae` and `hce`); the gain in IoU with the labels
        exchanged (`iou_gain_flipped`), at random places with the same labels (`iou_gain_random`), with a
        share `NOISE` of the clicks spoilt (`iou_gain_noisy`) and
        without the pixels within `NEAR` of a click (`iou_gain_away`); `clicked_flipped`, the share of clicks
        whose pixel has their label afterwards; `collateral`, the share of the pixels farther than `NEAR` from
        all clicks and right before that are wrong after; `noc_85` and so on, how many clicks of the iterative
        protocol reach that IoU in percent (`rounds` where none does), `nof_85`, 1 where none does. Rows of
        curves: `protocol` (single-shot, iterative), `clicks`, `iou`, `biou`; 0 clicks is the box alone.

    Raises:
        PisamError: a click does not lie on the image or mask that it was made for.
    """
    measured = BenchmarkRows(watches={segmenter.name: Stopwatch() for segmenter in segmenters})
    for batch, image in zip(batches, images, strict=True):
        mask = batch.original_masks[0]
        clicks = _checked_clicks(batch, image)
        firsts = first_answers(segmenters, batch.image, batch.box)
        for segmenter, first in zip(segmenters, firsts, strict=True):
            heading: Row = {"model": segmenter.name, "set": image.set, "image": image.image}
            watch = measured.watches[segmenter.name]
            curves = _curves(segmenter, first, clicks, mask, settings, watch)
            measured.curves += [heading | point for point in curves if point["clicks"] in _shown(settings)]
            ious = [float(p["iou"]) for p in curves if p["protocol"] == "iterative"]
            row = heading | {"common_area": image.common_area}
            row |= _before_and_after(segmenter, first, clicks, mask, image, settings, keep)
            for target in TARGETS:
                row[f"noc_{target}"], failed = number_of_clicks(ious, target / 100)
                row[f"nof_{target}"] = int(failed)
            measured.images.append(row)
    return measured


def _checked_clicks(batch: Batch, image: ClickedImage) -> Clicks:
    mask, clicks = batch.original_masks[0], image.as_clicks()
    if (batch.sets[0], batch.ids[0]) != (image.set, image.image):
        raise ValueError(f"clicks of {image.set}/{image.image} on {batch.sets[0]}/{batch.ids[0]}")
    name = f"clicks on {image.set}/{image.image}"
    height, width = mask.shape
    if (width, height) != (image.width, image.height):
        raise PisamError(
            f"{name}: made on {image.width} x {image.height} pixels, the image here has {width} x {height}; "
            "use the images that the clicks were made on"
        )
    clicks = clicks.to(mask.device)
    if share_obeyed(mask, clicks) != 1:
        raise PisamError(f"{name}: a label contradicts the mask; use the masks that the clicks were made on")
    return clicks


def _shown(settings: BenchmarkSettings) -> list[int]:
    return [0, *readings(settings.rounds)]


def _curves(
    segmenter: Segmenter,
    first: State,
    clicks: Clicks,
    mask: Tensor,
    settings: BenchmarkSettings,
    watch: Stopwatch,
) -> list[Row]:
    """One image by both protocols, from 0 clicks on; the iterative one after every click."""
    numbers = readings(settings.rounds)
    at_once = single_shot(segmenter, first, clicks, mask, numbers)
    one_by_one = iterative(
        segmenter, first, mask, settings.rounds, connectivity=settings.connectivity, watch=watch
    )
    before = mask_at_original(first, mask)
    points: list[Row] = []
    for protocol, counts, masks in (
        ("single-shot", [0, *numbers], [before, *at_once]),
        ("iterative", range(settings.rounds + 1), [before, *one_by_one]),
    ):
        points += [
            {
                "protocol": protocol,
                "clicks": count,
                "iou": float(iou(answer, mask)),
                "biou": float(boundary_iou(answer, mask)),
            }
            for count, answer in zip(counts, masks, strict=True)
        ]
    return points


def _before_and_after(
    segmenter: Segmenter,
    first: State,
    clicks: Clicks,
    mask: Tensor,
    image: ClickedImage,
    settings: BenchmarkSettings,
    keep: Keep | None,
) -> Row:
    size, side = mask.shape, first.logits.shape[-1]
    seed = derive_seed(settings.seed, "controls", image.set, image.image)
    given = first_clicks(clicks, settings.clicks)

    def answer(to: Clicks) -> State:
        return segmenter.after(first, to_frame(to, size, side))

    def iou_after(to: Clicks) -> float:
        return float(iou(mask_at_original(answer(to), mask), mask))

    repaired = answer(given)
    row: Row = {"clicks": given.points.shape[1]}
    truth = mask.cpu().numpy()
    old, new = (
        all_scores(logits_to_levels(logits_to_original(state.logits, size)), truth, SCORES)
        for state in (first, repaired)
    )
    for score in SCORES:
        start, end = old[score], new[score]
        row |= {f"{score}_before": start, f"{score}_after": end, f"{score}_gain": end - start}
    before, after = mask_at_original(first, mask), mask_at_original(repaired, mask)
    if keep is not None:
        keep(segmenter.name, "before", image.set, image.image, before.cpu().numpy())
        keep(segmenter.name, "after", image.set, image.image, after.cpu().numpy())
    away = ~near_clicks(given.points[0], size, NEAR)
    iou_before = float(iou(before, mask))
    return row | {
        "iou_gain_flipped": iou_after(exchanged(given)) - iou_before,
        "iou_gain_random": iou_after(anywhere(given, size, seed)) - iou_before,
        "iou_gain_noisy": iou_after(spoilt(given, size, seed, NOISE)) - iou_before,
        "iou_gain_away": gain_away(before, after, mask, away),
        "clicked_flipped": share_obeyed(after, given),
        "collateral": collateral(before, after, mask, away),
    }
