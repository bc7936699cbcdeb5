"""Names of the scores of data sets, which a command can check before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from pisam.core.checks import POOLED

SEGMENTATION = ("iou", "biou")
"""Of an image, in a validation of stage 1."""
INTERACTION = (
    *("iou_before", "iou_after", "iou_gain", "biou_before", "biou_after", "biou_gain"),
    *("improved", "oracle"),
)
"""Of an image, before and after clicks."""
OF_MEANS = "oracle_share"
"""What is made of the means of those, and is no score of an image."""


def prefixes(set_names: Sequence[str]) -> list[str]:
    """What stands before the scores of each set, of all images, and over sets."""
    return [*(f"{name}/" for name in (*set_names, POOLED)), ""]


def with_sets(set_names: Sequence[str], scores: Sequence[str]) -> list[str]:
    """`SET/score` of each set, then `pooled/score`, then `score`."""
    return [f"{prefix}{score}" for prefix in prefixes(set_names) for score in scores]


def of_interaction(set_names: Sequence[str]) -> list[str]:
    """The same of all scores before and after clicks."""
    return [*with_sets(set_names, INTERACTION), *with_sets(set_names, [OF_MEANS])]
