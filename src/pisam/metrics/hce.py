"""Human correction effort (Qin et al., ECCV 2022): the mouse operations that would repair a mask by hand."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from pisam.metrics.functional import KnownMask

GAMMA = 5
"""Errors up to about this many pixels from the object's outline are forgiven."""
EPSILON = 2.0
"""Tolerance of the polygons that stand for strokes, in pixels."""

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def human_correction_effort(prediction: np.ndarray, mask: KnownMask) -> int:
    """Number of operations: points of the polygons along wrong outlines, one for each region without any.

    The prediction is bool (H, W), of the mask's size.
    """
    true = mask.pixels
    hit, union = prediction & true, prediction | true
    core = cv2.erode(union.view(np.uint8), _CROSS, iterations=GAMMA).view(bool)
    invented = _regrown(prediction & ~true, core)
    # Parts thinner than gamma that are missed count by their skeleton.
    missed = _regrown(true & ~prediction, core) | (mask.skeleton & ~prediction)
    return _effort(invented, hit | missed) + _effort(missed, ~(hit | invented | missed))


def _regrown(error: np.ndarray, core: np.ndarray) -> np.ndarray:
    """The pixels of an error within `GAMMA` steps, inside it, from those deep in the union."""
    grown = (error & core).view(np.uint8)
    for _ in range(GAMMA):
        grown = cv2.dilate(grown, _CROSS) & error.view(np.uint8)
    return grown.view(bool)


def _effort(error: np.ndarray, context: np.ndarray) -> int:
    """Operations on one kind of error: strokes where its outline meets the context, clicks elsewhere."""
    contours, _ = cv2.findContours(error.view(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return 0
    points = np.concatenate(contours)[:, 0]
    contour_of = np.repeat(np.arange(len(contours)), [len(contour) for contour in contours])
    columns, rows = points.T
    touching = np.flatnonzero(cv2.dilate(context.view(np.uint8), _CROSS)[rows, columns])
    # Outlines of thin parts run over a pixel twice: it counts the first time.
    _, first = np.unique(rows[touching] * np.int64(error.shape[1]) + columns[touching], return_index=True)
    chosen = touching[np.sort(first)]
    components, labels = cv2.connectedComponents(error.view(np.uint8), connectivity=8)
    touched = len(np.unique(labels[rows[chosen], columns[chosen]]))
    strokes = _strokes(points, chosen, contour_of[chosen])
    return components - 1 - touched + sum(_polygon_points(stroke) for stroke in strokes)


def _strokes(points: np.ndarray, chosen: np.ndarray, contour_of: np.ndarray) -> Iterator[np.ndarray]:
    """Runs of chosen points that follow one another on a contour; a run over its start and end is one.

    Args:
        points: int32 (P, 2), of all contours one after the other.
        chosen: int (N,), ascending indices into the points.
        contour_of: int (N,), the contour of each chosen point.

    Yields:
        int32 (n, 2).
    """
    if not len(chosen):
        return
    breaks = np.flatnonzero((np.diff(chosen) != 1) | (np.diff(contour_of) != 0)) + 1
    starts, ends = np.r_[0, breaks], np.r_[breaks, len(chosen)]
    runs = [points[chosen[start] : chosen[end - 1] + 1] for start, end in zip(starts, ends, strict=True)]
    changes = np.flatnonzero(np.diff(contour_of[starts])) + 1
    for begin, end in zip(np.r_[0, changes], np.r_[changes, len(runs)], strict=True):
        group = runs[begin:end]
        if len(group) > 1 and np.abs(group[0][0] - group[-1][-1]).max() == 1:
            # Joined as in the published code, which turns the first run around.
            group = [*group[1:-1], np.concatenate([group[-1], group[0][::-1]])]
        yield from group


def _polygon_points(stroke: np.ndarray) -> int:
    return len(stroke) if len(stroke) < 3 else len(cv2.approxPolyDP(stroke[:, None], EPSILON, closed=False))
