"""Scores of interactive segmentation, read off the IoU after each click.

All take `ious`, (N, K): image n after its click k + 1, in [0, 1]; an array, a tensor or nested lists. A row
that ended early, because nothing was left to click, is first continued by `curves_of`. Where the first column
is the answer to a box, `first=0` says that it is after no click.

Source: the evaluation of RITM (Sofiiuk et al., ICIP 2022), which HQSeg-44K's tables follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

TARGETS = (80, 85, 90, 95)
"""Percent IoU of the published NoC and NoF."""

Curves = npt.NDArray[np.float64]


def curves_of(rows: Sequence[Sequence[float]], clicks: int) -> Curves:
    """Rows of 1 to `clicks` scores as one array; a row's last score stands for the clicks it did not need.

    Returns:
        float64 (N, clicks).

    Raises:
        ValueError: a row is empty, longer or no row of numbers.
    """
    if not isinstance(clicks, Integral) or not hasattr(rows, "__len__"):
        raise ValueError(
            f"expected rows and a whole number of clicks, got {type(rows).__name__}, {clicks!r:.40}"
        )
    curves = np.empty((len(rows), int(clicks)))
    for number, row in enumerate(rows):
        try:
            scores = np.asarray(row, np.float64)
            got = len(scores) if scores.ndim == 1 else f"shape {scores.shape}"
        except (TypeError, ValueError):
            scores, got = np.empty(0), type(row).__name__
        if scores.ndim != 1 or not 1 <= len(scores) <= clicks:
            raise ValueError(f"row {number}: expected 1 to {clicks} scores, got {got}")
        curves[number, : len(scores)] = scores
        curves[number, len(scores) :] = scores[-1]
    return curves


def clicks_needed(ious: Any, target: float, *, first: int = 1) -> npt.NDArray[np.int64]:
    """Fewest clicks of each image whose IoU is at least `target`; all of them where none is.

    Args:
        ious: see above.
        target: IoU in [0, 1].
        first: how many clicks the first column is after.

    Returns:
        int64 (N,).

    Raises:
        ValueError: no such scores, or a target that is none, such as 90 for 0.9.
    """
    reached = _checked(ious) >= _share(target)
    last = first + reached.shape[1] - 1
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + first, last)


def noc(ious: Any, target: float, *, first: int = 1) -> float:
    """Mean number of clicks to reach an IoU (NoC@target), images that never do counting as K."""
    return float(clicks_needed(ious, target, first=first).mean())


def nof(ious: Any, target: float) -> int:
    """Number of images that never reach an IoU (NoF@target).

    RITM's code counts the images whose number of clicks is K, so also those that succeed with the last click.
    """
    return int((_checked(ious) < _share(target)).all(axis=1).sum())


def iou_after(ious: Any, clicks: int, *, first: int = 1) -> float:
    """Mean IoU after so many clicks; after 5 clicks it is printed as 5-mIoU."""
    curves = _checked(ious)
    last = first + curves.shape[1] - 1
    if not isinstance(clicks, Integral) or not first <= clicks <= last:
        raise ValueError(f"clicks: expected {first} to {last}, got {clicks!r:.40}")
    return float(curves[:, clicks - first].mean(dtype=np.float64))


def area_under_curve(ious: Any) -> npt.NDArray[np.float64]:
    """Area under IoU by clicks from 1 to K of each image (trapezoids), divided by K - 1, in [0, 1]."""
    curves = _checked(ious).astype(np.float64)
    if curves.shape[1] == 1:
        return curves[:, 0]
    return (curves[:, 1:] + curves[:, :-1]).mean(axis=1) / 2


def seconds_per_click(seconds: Sequence[Sequence[float]]) -> float | None:
    """Mean over all clicks that were answered; None where none was."""
    times = [second for row in seconds for second in row]
    return float(np.mean(times)) if times else None


def summarise(ious: Any, targets: Sequence[int] = TARGETS, *, first: int = 1) -> dict[str, float]:
    """`noc_80`, `nof_80` and so on, `iou_1`, `iou_5` (5-mIoU), `iou_K` and `auc`, as far as K goes."""
    curves = _checked(ious)
    scores: dict[str, float] = {}
    for target in targets:
        if not isinstance(target, Integral):
            raise ValueError(f"targets: expected percent, whole numbers up to 100, got {target!r:.40}")
        scores[f"noc_{target}"] = noc(curves, target / 100, first=first)
        scores[f"nof_{target}"] = nof(curves, target / 100)
    last = first + curves.shape[1] - 1
    shown = sorted(number for number in {first, 1, 3, 5, 10, last} if first <= number <= last)
    scores |= {f"iou_{clicks}": iou_after(curves, clicks, first=first) for clicks in shown}
    return scores | {"auc": float(area_under_curve(curves).mean())}


def heading(score: str) -> str:
    """The name of a score of `summarise` as the field prints it: NoC@90, NoF@90, IoU@1, 5-mIoU, AuC."""
    kind, _, number = score.partition("_")
    if score == "iou_5":
        return "5-mIoU"
    return {"noc": f"NoC@{number}", "nof": f"NoF@{number}", "iou": f"IoU@{number}", "auc": "AuC"}[kind]


def _share(target: float) -> float:
    if not isinstance(target, Real) or not 0 <= target <= 1:
        raise ValueError(f"target: expected an IoU in [0, 1], got {target!r:.40}")
    return float(target)


def _checked(ious: Any) -> npt.NDArray[np.floating]:
    """Floats (N, K) of their own bits, in which 0.9 is not less than a target of 0.9 of as many; else 64."""
    try:
        curves = np.asarray(ious.detach().cpu() if hasattr(ious, "detach") else ious)
        if curves.dtype.kind == "c":
            raise TypeError("complex numbers")
        curves = curves if curves.dtype in (np.float16, np.float32) else curves.astype(np.float64)
    except (TypeError, ValueError) as error:  # ragged, or of a kind that NumPy lacks
        raise ValueError(f"ious: expected (images, clicks) of numbers, got {type(ious).__name__}") from error
    if curves.ndim != 2 or 0 in curves.shape:
        raise ValueError(f"ious: expected (images, clicks), both at least 1, got {curves.shape}")
    if not (np.isfinite(curves).all() and (curves >= 0).all() and (curves <= 1).all()):
        raise ValueError("ious: expected numbers in [0, 1]")
    return curves
