"""The guarantee: every clicked pixel has its label, whatever the network predicts.

NumPy and OpenCV alone, at the image's own size: the same for every model, with or without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pisam.core.locality import Pixel, last_labels
from pisam.core.types import Click, FloatArray

MARGIN = 2.0  # logits by which a click that was not obeyed has its label afterwards
REACH = 1 / 32  # of the side of a square of the image's area: 16 pixels of a frame of 512
COLOUR = 32.0  # levels of 255: colours so far apart count as places `REACH` apart
SUPPORT = 9.0  # squared distance, in units of reach and colour, from which on nothing changes
BAND = 256  # rows worked on at a time: a large image takes little memory


def obey(logits: FloatArray, frame: npt.NDArray[np.uint8], clicks: Sequence[Click]) -> FloatArray:
    """Change logits near the clicks that they do not obey, and nowhere else, so that they obey them all.

    What a click lacks is added to the pixels around it, less with their distance in place and colour. Between
    clicks of both labels a pixel follows the nearer one, so no click undoes another, and their order is of no
    matter. Of several clicks on one pixel the last one counts.

    Args:
        logits: float32 (H, W), positive = object, finite.
        frame: uint8 (h, w, 3), the whole image at any size.
        clicks: in pixels of the logits, 0 <= x <= W and 0 <= y <= H, in the order of clicking.

    Returns:
        float32 (H, W), where each clicked pixel has the label of its last click; `logits` itself where that
        is so already.
    """
    labels = last_labels(clicks, logits.shape)
    lacks = {pixel: _lack(float(logits[pixel]), label) for pixel, label in labels.items()}
    if not any(lacks.values()):
        return logits
    answer = logits + _correction(logits.shape, frame, labels, lacks)
    for pixel, label in labels.items():  # a sum of floats of unlike sizes may fall short
        if _lack(float(answer[pixel]), label):
            answer[pixel] = MARGIN if label else -MARGIN
    return answer


def share_obeyed(mask: npt.NDArray[np.bool_], clicks: Sequence[Click]) -> float:
    """Share of the clicked pixels of a mask (H, W) that have the label of their last click; NaN for none."""
    labels = last_labels(clicks, mask.shape)
    return float(np.mean([mask[pixel] == label for pixel, label in labels.items()])) if labels else np.nan


def _lack(logit: float, label: int) -> float:
    """Amount to add to, or for label 0 to take from, a logit of the wrong sign; 0 for one of the right."""
    return 0.0 if (logit > 0) == bool(label) else MARGIN + abs(logit)


def _correction(
    shape: Sequence[int],
    frame: npt.NDArray[np.uint8],
    labels: Mapping[Pixel, int],
    lacks: Mapping[Pixel, float],
) -> FloatArray:
    """Addition to the logits, float32 (H, W); 0 far from the clicks that lack something."""
    height, width = shape
    colours = cv2.resize(frame, (width, height)) if frame.shape[:2] != (height, width) else frame
    unit = REACH * np.sqrt(height * width)
    reach = int(unit * np.sqrt(SUPPORT)) + 1
    correction = np.zeros((height, width), np.float32)
    for top in range(0, height, BAND):
        bottom = min(height, top + BAND)
        near = {pixel: label for pixel, label in labels.items() if top - reach <= pixel[0] < bottom + reach}
        if not any(lacks[pixel] for pixel in near):
            continue
        # Per label: the squared distance to the nearest click, and the most that a click adds.
        distance = np.full((2, bottom - top, width), SUPPORT, np.float32)
        added = np.zeros((2, bottom - top, width), np.float32)
        for (row, column), label in near.items():
            rows = slice(max(top, row - reach), min(bottom, row + reach + 1))
            columns = slice(max(0, column - reach), column + reach + 1)
            unlike = colours[rows, columns].astype(np.float32) - colours[row, column]
            across = (np.arange(width, dtype=np.float32)[columns] - column) / unit
            down = (np.arange(height, dtype=np.float32)[rows] - row) / unit
            away = np.square(unlike).sum(axis=2) / COLOUR**2 + np.square(across) + np.square(down)[:, None]
            here = label, slice(rows.start - top, rows.stop - top), columns
            np.minimum(distance[here], away, out=distance[here])
            if lack := lacks[row, column]:
                np.maximum(added[here], lack * weight(away), out=added[here])
        total = np.maximum(distance[0] + distance[1], 1e-12)
        correction[top:bottom] = (distance[0] * added[1] - distance[1] * added[0]) / total
    return correction


def weight(distance: FloatArray) -> FloatArray:
    """Share of what a click lacks that is added, by the squared distance: 1 at it, 0 from `SUPPORT` on."""
    return np.square(np.maximum(1 - distance / SUPPORT, 0))
