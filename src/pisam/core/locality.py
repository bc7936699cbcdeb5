"""Locality: a click changes the region that it asks for and what is near it, and nothing else.

NumPy and OpenCV alone, so that it is the same with or without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pisam.core.types import ALIKE, Click, FloatArray

Pixel = tuple[int, int]  # row, column
Start = Literal["box", "points", "mask"]

REACH = 1 / 8  # of the longer side: standard deviation of the distance over which changes fade
CENTRAL = 2 / 3  # of the depth of what changes: the least depth of a click that asks for it


class Heard(NamedTuple):
    """SAM's answers to the clicks on an object so far."""

    clicks: int = 0  # how many it was asked about
    # it has once agreed with the mask that was clicked on, so what object is meant is known; never after a
    # given mask, which it was shown and may have believed
    settled: bool = False

    def reads_alone(self, clicks: Sequence[Click], start: Start) -> bool:
        """True where `join_answers` depends on what the interactor answers alone."""
        return start != "mask" or self.several(clicks)

    def several(self, clicks: Sequence[Click]) -> bool:
        """True where more than one is new; SAM was made to hear them one by one."""
        return len(clicks) - self.clicks > 1


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

    The one repairs finely and seldom harms, the other also mends what is grossly wrong, or lets go of the
    object. Where the two are alike, their mean gains as much as the second alone, and loses a third of what
    that loses where it errs (results of real_small); after a given mask the second alone, which repairs more.
    Where they are not, the second counts for one more click alone, and

    - of an object that is known, where it adds and the click is in the middle of what changes;
    - else after a box, where the click is in the middle of what changes;
    - else after points, where it adds;
    - after a given mask, which may be of anything, always.

    Args:
        before: float32 (H, W), positive = object.
        alone: float32 (H, W), the interactor's answer to all clicks, see `Heard.reads_alone`.
        asked: float32 (H, W), that of SAM and then the interactor.
        clicks: in pixels of the logits, at least one.
        heard: of SAM's earlier answers on this object.
        start: the prompt; points (or box and points) and a given mask may mean something else than was found.
    """
    settled = start != "mask" and (heard.settled or alike(before, asked))
    now, agreed = Heard(len(clicks), settled), alike(alone, asked)
    counts = not heard.several(clicks) and _may_be_meant(before, asked, clicks, heard, start)
    if not agreed and not counts:
        return Joined(stay_near(before, alone, clicks), False, now)
    joined = stay_near(before, asked, clicks)
    if agreed and start != "mask":
        joined = (stay_near(before, alone, clicks) + joined) / np.float32(2)
    return Joined(joined, True, now)


def _may_be_meant(
    before: FloatArray, asked: FloatArray, clicks: Sequence[Click], heard: Heard, start: Start
) -> bool:
    """True where the last click may ask for what SAM answers, see `join_answers`."""
    adds = np.count_nonzero(asked > 0) >= np.count_nonzero(before > 0)
    if heard.settled:
        return adds and in_the_middle(before, asked, clicks)
    if start == "box":
        return in_the_middle(before, asked, clicks)
    return adds or start == "mask"


def in_the_middle(before: FloatArray, after: FloatArray, clicks: Sequence[Click]) -> bool:
    """True where the last click is as deep in what had the other label as what changed is deep, or nearly.

    People click in the middle of what is wrong: near the edge of a mask a click does not ask for another.

    Args:
        before: float32 (H, W), positive = object.
        after: float32 (H, W).
        clicks: in pixels of the logits, at least one.
    """
    [(pixel, label)] = last_labels(clicks[-1:], before.shape).items()
    depth = _depths((before > 0) != bool(label))[pixel]
    changed = np.pad((before > 0) != (after > 0), 1)  # nothing changes beyond the frame
    return bool(depth >= CENTRAL * _depths(changed).max())


def _depths(region: npt.NDArray[np.bool_]) -> FloatArray:
    """Distance of each pixel of a region, bool (H, W), to the nearest one outside, float32 (H, W)."""
    depths = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(depths, np.float32)


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
    away = np.ones((height, width), bool)
    for pixel in last_labels(clicks, before.shape):
        away[pixel] = False
    distance = _depths(away)
    share = np.exp(-0.5 * np.square(distance / (REACH * max(height, width))))
    faded: FloatArray = before + share * (after - before)
    return np.where(regions_asked_for(before, after, clicks), after, faded)


def alike(one: FloatArray, other: FloatArray) -> bool:
    """True of two answers, float32 (H, W), whose masks overlap by `ALIKE` or more."""
    union = np.count_nonzero((one > 0) | (other > 0))
    return np.count_nonzero((one > 0) & (other > 0)) >= ALIKE * union


def iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """IoU of two masks (H, W); 1 where both are empty."""
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0


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
