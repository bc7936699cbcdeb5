"""Prompts in pixels of an image, checked and brought into the frame: boxes, points, clicks."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from pisam.core.types import Click, FloatArray
from pisam.predictor.session import SeenImage

Box = Sequence[float] | npt.NDArray[np.number]
Points = Sequence[tuple[float, float]] | npt.NDArray[np.number]


def box_in_frame(box: Box, image: SeenImage) -> FloatArray:
    """A box in pixels of the frame.

    Raises:
        ValueError: without an area, or outside of the image.
    """
    bottom, right = image.size
    edges = _numbers(box)
    fits = edges.shape == (4,) and np.all(edges >= 0) and np.all(edges <= [right, bottom, right, bottom])
    if not fits or np.any(edges[:2] >= edges[2:]):
        raise ValueError(
            f"box: expected 0 <= x0 < x1 <= {right} and 0 <= y0 < y1 <= {bottom}, got {_shown(box)}"
        )
    scaled: FloatArray = (edges * np.tile(image.scale, 2)).astype(np.float32)
    return scaled


def points_on(points: Points, labels: Any, image: SeenImage, *, boxed: bool) -> list[Click]:
    """Points of a prompt in pixels of the image.

    Args:
        points: (N, 2), x and y.
        labels: N, or None where all are on the object.
        image: that they lie in.
        boxed: a box says where the object is, so no point need be on it.

    Raises:
        ValueError: outside of the image, other labels, or no point on the object.
    """
    rows = _numbers(points)
    if rows.ndim != 2 or rows.shape[1] != 2 or not len(rows):
        raise ValueError(f"points: expected (N, 2), at least one point, got {_shown(points)}")
    try:
        kinds = [1] * len(rows) if labels is None else list(getattr(labels, "tolist", lambda: labels)())
    except TypeError as error:
        raise ValueError(f"labels: expected one for each point, got {_shown(labels)}") from error
    if len(kinds) != len(rows):
        raise ValueError(f"labels: expected one for each of {len(rows)} points, got {len(kinds)}")
    clicks = [click_on((x, y), label, image, "points") for (x, y), label in zip(rows, kinds, strict=True)]
    if not boxed and not any(label for _, _, label in clicks):
        raise ValueError("labels: expected a point on the object (1), or a box, got points beside it alone")
    return clicks


def click_on(point: tuple[float, float], label: object, image: SeenImage, what: str) -> Click:
    """A click in pixels of the image.

    Raises:
        ValueError: outside of it, or neither foreground nor background.
    """
    height, width = image.size
    x, y = point
    there = _numbers(point)
    if there.shape != (2,) or not (0 <= there[0] <= width and 0 <= there[1] <= height):
        shown = f"({x!s:.40}, {y!s:.40})"
        raise ValueError(f"{what}: expected 0 <= x <= {width} and 0 <= y <= {height}, got {shown}")
    if not isinstance(label, (bool, np.bool_, Integral, np.integer)) or label not in (0, 1):
        name = "foreground" if what == "click" else "labels"
        raise ValueError(f"{what}: {name}: expected True or False (1 or 0), got {label!r:.40}")
    return float(there[0]), float(there[1]), int(label)


def _numbers(given: Any) -> npt.NDArray[np.float64]:
    """An array; of no shape that anything is expected of where NumPy makes none of it, or not of numbers.

    A tensor may be of any device and kind; a masked array with something masked is none.
    """
    try:
        values = np.asarray(given.detach().cpu().double() if hasattr(given, "detach") else given)
        if values.dtype.kind in "biufO" and not np.ma.is_masked(given):
            return values.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    return np.zeros(0)


def _shown(given: object) -> str:
    return " ".join(f"{given!s:.80}".split())
