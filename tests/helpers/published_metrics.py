"""What PySODMetrics says of a pair."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import py_sod_metrics

from helpers.metric_pairs import Pair

MEASURES = {
    "fm": py_sod_metrics.Fmeasure,
    "em": py_sod_metrics.Emeasure,
    "mae": py_sod_metrics.MAE,
    "sm": py_sod_metrics.Smeasure,
    "wfm": py_sod_metrics.WeightedFmeasure,
    "hce": py_sod_metrics.HumanCorrectionEffortMeasure,
}


def run(pairs: Iterable[Pair], names: Iterable[str] = MEASURES) -> dict[str, Any]:
    """The named measures of PySODMetrics over pairs: its results as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package's own deprecation, and NaN where a quadrant is empty
        measures = {name: MEASURES[name]() for name in names}
        for prediction, mask in pairs:
            for measure in measures.values():
                measure.step(pred=prediction, gt=mask * np.uint8(255))
        return {name: measure.get_results()[name] for name, measure in measures.items()}


def published_scores(pairs: Iterable[Pair]) -> dict[str, float]:
    """Scores over a data set under this package's names; over one pair, those of the image."""
    results = run(pairs)
    names = {"weighted_f": "wfm", "mae": "mae", "s_measure": "sm", "hce": "hce"}
    scores = {ours: results[theirs] for ours, theirs in names.items()}
    for letter in "fe":
        result = results[f"{letter}m"]
        scores[f"max_{letter}"], scores[f"mean_{letter}"] = result["curve"].max(), result["curve"].mean()
        scores[f"adaptive_{letter}"] = result["adp"]
    return {name: float(score) for name, score in scores.items()}
