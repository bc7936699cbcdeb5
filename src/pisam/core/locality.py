"""Locality: a click changes the region that it asks for and what is near it, and nothing else.

NumPy and OpenCV alone, so that it is the same with or without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pisam.core.types import ALIKE

Click = tuple[float, float, int]  # x, y, label; in pixels, label 1 = object
Pixel = tuple[int, int]  # row, column
FloatArray = npt.NDArray[np.float32]
Start = Literal["box", "points", "mask"]

REACH = 1 / 8  # of the longer side: standard deviation of the distance over which changes fade


@dataclass(frozen=True)
class Heard:
    """What SAM has said to the clicks on an object so far.

    Attributes:
        clicks: how many of them its answer is in the mask of.
        settled: it has once agreed with the mask that was clicked on, so what object is meant is known; never
            after a given mask, which it was shown and may have believed.
    """

    clicks: int = 0
    settled: bool = False

    def doubtful(self, clicks: Sequence[Click]) -> bool:
        """True where SAM's answer counts only if it is `alike` that of the interactor.

        SAM was made to hear clicks one by one; told several at once it may let go of the object. And once the
        object is known, one more click does not ask for another.
        """
        return self.settled or len(clicks) - self.clicks > 1


class Joined(NamedTuple):
    """Logits float32 (H, W); whether SAM's answer is in them; and what is known of SAM's answers now."""

    logits: FloatArray
    believed: bool
    heard: Heard


def join_answers(
    before: FloatArray,
    alone: FloatArray,
    asked: FloatArray,
    clicks: Sequence[Click],
    heard: Heard,
    start: Start,
) -> Joined:
    """The answer to clicks, from what the interactor answers alone and after SAM was asked again.

    The one repairs finely and seldom harms, the other also mends what is grossly wrong. After a box their
    mean gains as much by a click, and loses a third of what the second alone loses where it errs; where the
    first mask may be grossly wrong, the second is needed whole (results of real_small).

    Args:
        before: float32 (H, W), positive = object.
        alone: float32 (H, W), the interactor's answer to all clicks; read after a box or in doubt.
        asked: float32 (H, W), that of SAM and then the interactor.
        clicks: in pixels of the logits, at least one.
        heard: of SAM's earlier answers on this object.
        start: the prompt; points (or box and points) and a given mask may mean something else than was found.
    """
    if heard.doubtful(clicks) and not alike(alone, asked):
        return Joined(stay_near(before, alone, clicks), False, heard)
    told = stay_near(before, asked, clicks)
    mean = told if start != "box" else (stay_near(before, alone, clicks) + told) / np.float32(2)
    settled = start != "mask" and (heard.settled or alike(before, asked))
    return Joined(mean, True, Heard(len(clicks), settled))


def stay_near(before: FloatArray, after: FloatArray, clicks: Sequence[Click]) -> FloatArray:
    """Logits after clicks, but as before far from the clicks and from the regions that they ask for.

    Args:
        before: float32 (H, W), positive = object.
        after: float32 (H, W), what the model says of all clicks.
        clicks: in pixels of the logits, at least one.

    Returns:
        float32 (H, W): `after` in each changed region with a click of its new label, and faded with the
        distance from the nearest click elsewhere.
    """
    height, width = before.shape
    away = np.ones((height, width), np.uint8)
    for pixel in last_labels(clicks, before.shape):
        away[pixel] = 0
    distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_5)
    share = np.exp(-0.5 * np.square(distance / (REACH * max(height, width))))
    faded: FloatArray = before + share * (after - before)
    return np.where(regions_asked_for(before, after, clicks), after, faded)


def alike(one: FloatArray, other: FloatArray) -> bool:
    """True of two answers, float32 (H, W), whose masks overlap by `ALIKE` or more."""
    union = np.count_nonzero((one > 0) | (other > 0))
    return np.count_nonzero((one > 0) & (other > 0)) >= ALIKE * union


def regions_asked_for(
    before: FloatArray, after: FloatArray, clicks: Sequence[Click]
) -> npt.NDArray[np.bool_]:
    """Connected regions, bool (H, W), that became object or background and hold a click of that label.

    Args:
        before: float32 (H, W), positive = object.
        after: float32 (H, W).
        clicks: in pixels of the logits.
    """
    was, now = before > 0, after > 0
    asked = np.zeros(before.shape, bool)
    labels = last_labels(clicks, before.shape)
    for label in (0, 1):
        changed = (was != now) & (now == bool(label))
        wanted = [pixel for pixel, own in labels.items() if own == label and changed[pixel]]
        if wanted:
            _, regions = cv2.connectedComponents(changed.astype(np.uint8), connectivity=8)
            asked |= np.isin(regions, [regions[pixel] for pixel in wanted])
    return asked


def last_labels(clicks: Sequence[Click], shape: Sequence[int]) -> dict[Pixel, int]:
    """The label of the last click on each clicked pixel; a click on the far edge is on the last pixel."""
    height, width = shape
    return {(min(int(y), height - 1), min(int(x), width - 1)): label for x, y, label in clicks}
