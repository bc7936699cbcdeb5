"""The interaction benchmark: every model gets the same clicks, on the common error of all (supplement C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pisam.core.errors import PisamError
from pisam.core.types import Batch
from pisam.evaluation.interaction.common_error import ClickedImage
from pisam.evaluation.interaction.controls import share_obeyed
from pisam.evaluation.interaction.curves import Stopwatch
from pisam.evaluation.interaction.trial import BenchmarkSettings, Keep, Trial
from pisam.evaluation.rows import Row
from pisam.evaluation.threads import Threads
from pisam.modeling.segmenters import Segmenter, State


@dataclass
class BenchmarkRows:
    """What a benchmark measured.

    Attributes:
        images: a row per model and image, see `benchmark_image`.
        curves: a row per model, image, protocol and number of clicks.
        watches: per model, the time of the answers to single clicks.
    """

    images: list[Row] = field(default_factory=list)
    curves: list[Row] = field(default_factory=list)
    watches: dict[str, Stopwatch] = field(default_factory=dict)

    def add(self, other: BenchmarkRows) -> None:
        """Add what was measured on other images."""
        self.images += other.images
        self.curves += other.curves
        for model, watch in other.watches.items():
            total = self.watches.setdefault(model, Stopwatch())
            total.seconds += watch.seconds
            total.clicks += watch.clicks


@torch.inference_mode()
def benchmark_image(
    segmenters: Sequence[Segmenter],
    firsts: Sequence[State],
    batch: Batch,
    image: ClickedImage,
    settings: BenchmarkSettings,
    threads: Threads,
    *,
    keep: Keep | None = None,
) -> BenchmarkRows:
    """Give each model the same clicks on an image and compare its masks before and after, at original size.

    Args:
        segmenters: the models, names unique.
        firsts: their answers to the box; of models that answer it alike, one may stand for both.
        batch: the validation sample, one, on the models' device.
        image: the clicks on it.
        settings: see there.
        threads: work while the models answer.
        keep: called with (model, "before" or "after", set, image, mask bool (H, W)) of each first and
            repaired answer.

    Returns:
        A row per model: `model`, `set`, `image`, `common_area`, `clicks` (given); `before`, `after`, `gain`
        of each score (after less before: below 0 is better for `mae` and `hce`); the gain in IoU with the
        labels exchanged (`iou_gain_flipped`), at random places with the same labels (`iou_gain_random`), with
        a share `NOISE` of the clicks spoilt (`iou_gain_noisy`) and without the pixels within `NEAR` of a
        click (`iou_gain_away`); `clicked_flipped`, the share of clicks whose pixel has their label
        afterwards; `collateral`, the share of the pixels farther than `NEAR` from all clicks and right before
        that are wrong after; `noc_85` and so on, how many clicks of the iterative protocol reach that IoU in
        percent (`rounds` where none does), `nof_85`, 1 where none does. Rows of curves: `protocol`
        (single-shot, iterative), `clicks`, `iou`, `biou`; 0 clicks is the box alone.

    Raises:
        PisamError: a click does not lie on the image or mask that it was made for.
    """
    mask = batch.original_masks[0].cpu()
    _refuse_unfit(image, batch, mask)
    trial = Trial(image, mask, settings, threads)
    watches = {segmenter.name: Stopwatch() for segmenter in segmenters}
    asked = [
        trial.ask(segmenter, first, watches[segmenter.name], keep)
        for segmenter, first in zip(segmenters, firsts, strict=True)
    ]
    # In turn: while the next click on one model's answer is looked for, the others are asked.
    for _ in range(settings.rounds):
        for each in asked:
            each.click_once_more()
    return BenchmarkRows(
        images=[each.image_row() for each in asked],
        curves=[row for each in asked for row in each.curve_rows()],
        watches=watches,
    )


def _refuse_unfit(image: ClickedImage, batch: Batch, mask: Tensor) -> None:
    if (batch.sets[0], batch.ids[0]) != (image.set, image.image):
        raise ValueError(f"clicks of {image.set}/{image.image} on {batch.sets[0]}/{batch.ids[0]}")
    name = f"clicks on {image.set}/{image.image}"
    height, width = mask.shape
    if (width, height) != (image.width, image.height):
        raise PisamError(
            f"{name}: made on {image.width} x {image.height} pixels, the image here has {width} x {height}; "
            "use the images that the clicks were made on"
        )
    if share_obeyed(mask, image.as_clicks()) != 1:
        raise PisamError(f"{name}: a label contradicts the mask; use the masks that the clicks were made on")
