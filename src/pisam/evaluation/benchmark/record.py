"""Record of a model in a benchmark: the content of `interaction.json`, version 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pisam.core.types import Click
from pisam.evaluation.benchmark.protocol import ClickProtocol

CONTROLS = ("labels_exchanged", "random_places", "spoilt", "away", "obeyed", "collateral")


@dataclass(frozen=True)
class ImageRecord:
    """One image: what was clicked and what came of it.

    Attributes:
        set: name of its data set.
        image: its id there.
        sha256: of the image file's bytes, in hexadecimal.
        mask_sha256: of the mask file's.
        width: in pixels.
        height: in pixels.
        start: IoU and boundary IoU of the answer to the box; None where the first click is the prompt.
        clicks: in pixels of the original, in the order of clicking; fewer than the protocol has where nothing
            was left to click.
        iou: after each click.
        biou: boundary IoU after each click.
        seconds: that each answer took.
        controls: see `run.controls`; empty where they were not measured.
    """

    set: str
    image: str
    sha256: str
    mask_sha256: str
    width: int
    height: int
    start: tuple[float, float] | None
    clicks: tuple[Click, ...]
    iou: tuple[float, ...]
    biou: tuple[float, ...]
    seconds: tuple[float, ...]
    controls: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """An image without scores, and why."""

    set: str
    image: str
    reason: str


@dataclass
class Interaction:
    """One model's results.

    Attributes:
        protocol: how it was asked.
        model: its `name`, and plain facts about it.
        versions: of the packages that answered and scored.
        sets: images that each set has.
        images: those that were scored.
        failed: those that were not.
        ignore: the value of mask pixels that count neither way, of each set that has one.
    """

    protocol: ClickProtocol
    model: dict[str, Any]
    versions: dict[str, str]
    sets: dict[str, int]
    images: list[ImageRecord] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    ignore: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self.model["name"])

    @property
    def missing(self) -> int:
        """Number of images of the sets without scores."""
        return sum(self.sets.values()) - len(self.images)

    @property
    def status(self) -> str:
        """`complete`, or `partial` where an image of the sets has no scores."""
        return "partial" if self.missing or self.failed else "complete"
