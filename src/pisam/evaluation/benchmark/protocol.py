"""The protocol of a benchmark: everything that scores depend on beside the model and the images."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from pisam.clicks.users import JITTER
from pisam.core.errors import PisamError
from pisam.metrics.functional import DILATION_RATIO, LOGIT_THRESHOLD

Prompting = Literal["clicks", "points", "box"]
User = Literal["ritm", "human"]
MOST_CLICKS = 1000


@dataclass(frozen=True)
class ClickProtocol:
    """The rules of a benchmark.

    Attributes:
        prompt: clicks = the first click is all that a model is told at first (RITM); points = random points
            of the object, one more each time, whatever the model answers (HQ-SAM); box = the box of the mask,
            then clicks.
        user: who clicks: ritm = the deepest point of the error; human = near where people would, see
            `clicks.users`. Of no account for points.
        clicks: the most that an image gets.
        seed: of points and people.
        jitter: of people, in pixels.
        delay: of people: they look at the answer of so many clicks ago.
        threshold: a pixel is object where its logit is above this.
        boundary_dilation_ratio: width of the band of boundary IoU, as a fraction of the image diagonal.
    """

    prompt: Prompting = "clicks"
    user: User = "ritm"
    clicks: int = 20
    seed: int = 0
    jitter: float = JITTER
    delay: int = 0
    threshold: float = LOGIT_THRESHOLD
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
