"""All scores of one image at its original size."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pisam.metrics.functional import KnownMask, region_scores
from pisam.metrics.hce import human_correction_effort
from pisam.metrics.protocol import OBJECT_ABOVE, levels_at_original, probabilities_to_levels
from pisam.metrics.sod import (
    at_adaptive_threshold,
    at_every_level,
    e_measure,
    f_measure,
    joint_histogram,
    mean_absolute_error,
    s_measure,
)
from pisam.metrics.weighted_f import weighted_f

METRICS = (
    *("iou", "biou", "max_f", "mean_f", "adaptive_f", "weighted_f", "mae", "s_measure"),
    *("max_e", "mean_e", "adaptive_e", "hce"),
)
"""The names of all scores, in the order of `per_image.csv`."""
SLOW = frozenset({"weighted_f", "hce"})
"""Those that take most of the time of an image."""

_F = {"max_f", "mean_f", "adaptive_f"}
_E = {"max_e", "mean_e", "adaptive_e"}


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image, and the curves that a data set's `max_f` and `max_e` are made of."""

    values: dict[str, float]  # the chosen metrics in the order of `METRICS`
    # float64 (256,), F at the thresholds 0 .. 255; None if no F was asked for.
    f_curve: np.ndarray | None = None
    e_curve: np.ndarray | None = None  # the same of E


def all_scores(
    prediction: np.ndarray | Tensor,
    mask: np.ndarray | Tensor | KnownMask,
    metrics: Collection[str] = METRICS,
    ignored: np.ndarray | Tensor | None = None,
) -> dict[str, float]:
    """The row of an image in `per_image.csv`; arguments and errors as in `score_image`.

    Raises:
        ValueError: also for a prediction of uint8 of 0 and 1 alone: next to nothing as levels, not as a mask.
    """
    if not isinstance(mask, KnownMask):
        mask = KnownMask(_as_array(mask))
    prediction = _as_array(prediction)
    if prediction.dtype == np.uint8 and prediction.size and prediction.max() == 1:
        raise ValueError("prediction: values of 0 and 1 alone; give a mask as bool, levels as 0 to 255")
    return score_image(prediction, mask, metrics, ignored).values


def score_image(
    prediction: np.ndarray | Tensor,
    mask: np.ndarray | Tensor | KnownMask,
    metrics: Collection[str] = METRICS,
    ignored: np.ndarray | Tensor | None = None,
) -> ImageScores:
    """Score one prediction; F, MAE, S and E share one pass over the pixels.

    IoU and boundary IoU are of the pixels above 127 (above 0.5, logits above 0). The others stretch the
    prediction's levels to [0, 1] first, as PySODMetrics does; HCE is of what is then above 0.5.

    Args:
        prediction: (H, W), array or tensor, at the original size: uint8, or bool, or float probabilities in
            [0, 1], which are rounded to 8 bits so that a prediction scores the same before and after it was
            saved. Logits are no prediction here: see `pisam.metrics.protocol.logits_to_levels`.
        mask: bool (H, W), or known already, which saves time where several predictions are scored.
        metrics: names out of `METRICS`; `SLOW` are worth leaving out where they are not needed.
        ignored: bool (H, W), pixels without a truth, none of them object: whatever is predicted there counts
            as background. MAE is the mean over the others.

    Raises:
        ValueError: unknown metric, or arrays that are not such a pair.
    """
    names = known(metrics)
    levels, known_mask = _checked(prediction, mask)
    if ignored is not None:
        ignored = _checked_ignored(ignored, known_mask.pixels)
        levels = np.where(ignored, np.uint8(0), levels)
    true = known_mask.pixels
    wanted = set(names)
    values: dict[str, float] = {}
    f_curve = e_curve = None
    if wanted & {"iou", "biou"}:
        values |= region_scores(levels > OBJECT_ABOVE, known_mask)
    if wanted - {"iou", "biou"}:
        histogram = joint_histogram(levels, true)
        above, adaptive = at_every_level(histogram), at_adaptive_threshold(histogram)
        if wanted & _F:
            f_curve = f_measure(above)
            values |= _summary("f", f_curve, f_measure(adaptive))
        if wanted & _E:
            e_curve = e_measure(above)
            values |= _summary("e", e_curve, e_measure(adaptive))
        if "mae" in wanted:
            left_out = 0.0 if ignored is None else float(ignored.mean())
            values["mae"] = mean_absolute_error(histogram) / (1 - left_out) if left_out < 1 else 0.0
        if "s_measure" in wanted:
            values["s_measure"] = s_measure(histogram)
        if "weighted_f" in wanted:
            values["weighted_f"] = weighted_f(histogram, true)
        if "hce" in wanted:
            values["hce"] = human_correction_effort((histogram.values > 0.5)[levels], known_mask)
    return ImageScores({name: values[name] for name in names}, f_curve, e_curve)


def score_logits(
    logits: Tensor, mask: Tensor, metrics: Collection[str] = METRICS, ignored: Tensor | None = None
) -> ImageScores:
    """Scores of logits (1, S, S) against a mask bool (H, W): one function for validation and evaluation."""
    left_out = None if ignored is None else ignored.cpu().numpy()
    return score_image(levels_at_original(logits, mask), mask.cpu().numpy(), metrics, left_out)


def known(metrics: Collection[str]) -> list[str]:
    """The given metrics in the order of `METRICS`; raises ValueError: none, or an unknown one."""
    named = [] if isinstance(metrics, str) or not isinstance(metrics, Iterable) else list(metrics)
    if not named or not all(isinstance(name, str) and name in METRICS for name in named):
        raise ValueError(f"expected some of the metrics {', '.join(METRICS)}, got {metrics!r:.80}")
    return [name for name in METRICS if name in named]


def _summary(letter: str, curve: np.ndarray, adaptive: np.ndarray) -> dict[str, float]:
    return {
        f"max_{letter}": float(curve.max()),
        f"mean_{letter}": float(curve.mean()),
        f"adaptive_{letter}": float(adaptive[0]),
    }


def _checked(
    prediction: np.ndarray | Tensor, mask: np.ndarray | Tensor | KnownMask
) -> tuple[np.ndarray, KnownMask]:
    prediction = _as_array(prediction)
    true = mask.pixels if isinstance(mask, KnownMask) else _as_array(mask)
    if true.dtype != bool or true.ndim != 2 or prediction.shape != true.shape or not true.size:
        raise ValueError(
            "expected a prediction and a bool mask (H, W) of one size, got prediction "
            f"{prediction.dtype} {prediction.shape} and mask {true.dtype} {true.shape}"
        )
    known_mask = mask if isinstance(mask, KnownMask) else KnownMask(true)
    return _levels(prediction), known_mask


def _checked_ignored(ignored: np.ndarray | Tensor, true: np.ndarray) -> np.ndarray:
    given = _as_array(ignored)
    if given.dtype != bool or given.shape != true.shape:
        raise ValueError(
            f"ignored: expected bool {true.shape} as the mask has, got {given.dtype} {given.shape}"
        )
    if count := int(np.count_nonzero(given & true)):
        raise ValueError(f"ignored: expected none of the object's pixels, got {count} of them")
    return given


def _as_array(values: np.ndarray | Tensor) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        try:
            values = (values.float() if values.is_floating_point() else values).numpy()
        except (TypeError, RuntimeError) as error:  # sparse, quantized
            raise ValueError(f"expected a plain tensor: {error}") from error
    if np.ma.is_masked(values):
        raise ValueError("expected a plain array, got one with masked pixels; give them as `ignored`")
    return np.ascontiguousarray(values)


def _levels(prediction: np.ndarray) -> np.ndarray:
    if prediction.dtype == bool:
        return prediction.view(np.uint8) * np.uint8(255)
    if np.issubdtype(prediction.dtype, np.floating):
        if not (prediction.min() >= 0 and prediction.max() <= 1):
            raise ValueError(
                f"expected probabilities in [0, 1], got {prediction.min():g} to {prediction.max():g}"
            )
        return probabilities_to_levels(prediction)
    if prediction.dtype != np.uint8:
        raise ValueError(f"expected a prediction as uint8, bool or probabilities, got {prediction.dtype}")
    return prediction
