"""The protocol of a benchmark, all that scores depend on beside model and images; results by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from pisam.clicks.policies import JITTER
from pisam.core.errors import PisamError
from pisam.core.types import Click
from pisam.metrics.functional import DILATION_RATIO, LOGIT_THRESHOLD

Prompting = Literal["clicks", "points", "box"]
User = Literal["ritm", "human"]
MOST_CLICKS = 1000


@dataclass(frozen=True)
class ClickProtocol:
    """The rules of a benchmark."""

    # clicks = the first click is all that a model is told at first (RITM); points = random points of the
    # object, one more each time, whatever the model answers (HQ-SAM); box = the box of the mask, then clicks
    prompt: Prompting = "clicks"
    # who clicks: ritm = the deepest point of the error; human = near where people would, see
    # `clicks.policies`. Of no account for points.
    user: User = "ritm"
    clicks: int = 20  # the most that an image gets
    seed: int = 0  # of points and people
    jitter: float = JITTER  # of people, in pixels
    delay: int = 0  # of people: they look at the answer of so many clicks ago
    threshold: float = LOGIT_THRESHOLD  # a pixel is object where its logit is above this
    # width of the band of boundary IoU, as a fraction of the image diagonal
    boundary_dilation_ratio: float = DILATION_RATIO

    def __post_init__(self) -> None:
        for key, value, choices in (
            ("prompt", self.prompt, get_args(Prompting)),
            ("user", self.user, get_args(User)),
        ):
            if value not in choices:
                raise PisamError(f"{key}: expected one of {', '.join(choices)}, got {value!r:.40}")
        for key, lowest, most in (
            ("clicks", 1, MOST_CLICKS),
            ("seed", 0, 2**32 - 1),
            ("delay", 0, MOST_CLICKS),
        ):
            number = getattr(self, key)
            if type(number) is not int or not lowest <= number <= most:
                raise PisamError(
                    f"{key}: expected a whole number from {lowest} to {most}, got {number!r:.40}"
                )
        for key, low, high in (
            ("jitter", 0, 1000),
            ("threshold", -1000, 1000),
            ("boundary_dilation_ratio", 0, 1),
        ):
            size = getattr(self, key)
            if type(size) not in (int, float) or not low <= size <= high:
                raise PisamError(f"{key}: expected a number from {low} to {high}, got {size!r:.40}")
            object.__setattr__(self, key, float(size))  # 5 and 5.0 are one number of two hashes

    def facts(self) -> dict[str, Any]:
        """Plain values, without those that decide nothing here."""
        values = asdict(self)
        if self.prompt == "points":
            del values["user"]
        if self.prompt == "points" or self.user == "ritm":
            del values["jitter"], values["delay"]
            if self.prompt != "points":
                del values["seed"]
        return values

    @property
    def id(self) -> str:
        """A short name: `clicks-ritm-20`."""
        return "-".join([self.prompt, *([] if self.prompt == "points" else [self.user]), str(self.clicks)])

    @property
    def hash(self) -> str:
        """SHA-256 of `facts`."""
        return hash_of(self.facts())


def hash_of(facts: dict[str, Any]) -> str:
    """SHA-256 of facts as JSON with sorted keys, numbers as they are written."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


CONTROLS = ("labels_exchanged", "random_places", "spoilt", "away", "obeyed", "collateral")


@dataclass(frozen=True)
class ImageRecord:
    """One image: what was clicked and what came of it."""

    set: str  # name of its data set
    image: str  # its id there
    sha256: str  # of the image file's bytes, in hexadecimal
    mask_sha256: str  # of the mask file's
    width: int  # in pixels
    height: int  # in pixels
    # IoU and boundary IoU of the answer to the box; None where the first click is the prompt
    start: tuple[float, float] | None
    # in pixels of the original, in the order of clicking; fewer than the protocol has where nothing was left
    # to click
    clicks: tuple[Click, ...]
    iou: tuple[float, ...]  # after each click
    biou: tuple[float, ...]  # boundary IoU after each click
    seconds: tuple[float, ...]  # that each answer took
    # see `run.controls`; empty where they were not measured
    controls: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """An image without scores, and why."""

    set: str
    image: str
    reason: str


@dataclass
class Interaction:
    """One model's results."""

    protocol: ClickProtocol
    model: dict[str, Any]  # its `name`, and plain facts about it
    versions: dict[str, str]  # of the packages that answered and scored
    sets: dict[str, int]  # images that each set has
    images: list[ImageRecord] = field(default_factory=list)  # those that were scored
    failed: list[Failure] = field(default_factory=list)  # those that were not
    # the value of mask pixels that count neither way, of each set that has one
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
