"""The common error of all models on an image, clicks on it, and the images where it is largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pisam.clicks.simulate import simulate_clicks
from pisam.core.seeding import derive_seed
from pisam.core.types import Batch, Click
from pisam.predictor.session import Answer


@dataclass(frozen=True)
class ClickedImage:
    """An image and the clicks that every model of a comparison gets on it.

    Attributes:
        set: name of its data set.
        image: its id there.
        width: of the original image, in pixels.
        height: of the original image, in pixels.
        common_area: pixels of the original image where all models err.
        clicks: (x, y, label) in pixels of the original image, in the order of clicking; may be empty.
    """

    set: str
    image: str
    width: int
    height: int
    common_area: int
    clicks: tuple[Click, ...]


@dataclass(frozen=True)
class Selection:
    """The images of a benchmark, and those that cannot take part.

    Attributes:
        chosen: the images with the largest common error, largest first.
        without_error: images where some model or other is right everywhere.
        too_small: images whose common error has no component large enough to be clicked.
    """

    chosen: list[ClickedImage]
    without_error: list[ClickedImage]
    too_small: list[ClickedImage]


def common_error(predictions: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The pixels where every prediction is wrong: the intersection of the models' error maps.

    A pixel that is wrong is missed or false by the mask alone, so models that all err there err alike.

    Args:
        predictions: bool (H, W) each, at least one.
        mask: bool (H, W).

    Returns:
        bool (H, W).

    Source: supplement C of the Pi-SAM paper; its printed pseudo-code intersects the predictions, a slip.
    """
    return torch.stack([prediction ^ mask for prediction in predictions]).all(dim=0)


def click_common_error(
    answers: Sequence[Answer], batch: Batch, *, seed: int, max_clicks: int, simulation: Mapping[str, Any]
) -> ClickedImage:
    """Draw clicks from the common error on an image, in its original size (supplement C, Algorithm 2).

    Args:
        answers: of the models to the box; where all of them err is the common error.
        batch: the validation sample, one.
        seed: the clicks are a function of (seed, set, image) and the common error.
        max_clicks: the most per image.
        simulation: `min_area`, `margin` and `connectivity` of `simulate_clicks`.
    """
    mask, set_name, image = batch.original_masks[0].cpu(), batch.sets[0], batch.ids[0]
    region = common_error([torch.from_numpy(answer.mask()) for answer in answers], mask)
    clicks = simulate_clicks(
        ~mask[None, None],  # not read where a region is given
        mask[None, None],
        seeds=[derive_seed(seed, "common error", set_name, image)],
        max_clicks=max_clicks,
        region=region[None, None],
        **simulation,
    )
    height, width = mask.shape
    return ClickedImage(
        set=set_name,
        image=image,
        width=width,
        height=height,
        common_area=int(region.count_nonzero()),
        clicks=tuple(clicks.rows(0)),
    )


def select_images(clicked: Sequence[ClickedImage], number: int) -> Selection:
    """The `number` images with the largest common error, fewer where fewer can be clicked.

    Among equals the first of `clicked` comes first.
    """
    clickable = [image for image in clicked if image.clicks]
    return Selection(
        chosen=sorted(clickable, key=lambda image: -image.common_area)[:number],
        without_error=[image for image in clicked if not image.common_area],
        too_small=[image for image in clicked if image.common_area and not image.clicks],
    )
