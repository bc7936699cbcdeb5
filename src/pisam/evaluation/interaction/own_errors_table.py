"""The numbers of many clicks: means over all images and rounds, and over those of each data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pisam.core.set_names import POOLED
from pisam.evaluation.interaction.own_errors import ROUNDS
from pisam.evaluation.rows import Row, column_mean, rows_by_set, text_table

SHOWN = {
    "images": "images",
    "IoU before": "iou_before",
    "after": "iou_after",
    "gain": "iou_gain",
    "boundary gain": "biou_gain",
    "improved": "improved",
    "gain flipped": "iou_gain_flipped",
    "random": "iou_gain_random",
    "away": "iou_gain_away",
    "obeyed": "clicked_flipped",
    "collateral": "collateral",
}


def summarise_clicks(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over all rows under `pooled` and over those of each set under `sets`.

    `improved` is the share of images whose IoU gain, averaged over rounds, is positive; `..._per_seed` has a
    mean for each round.
    """
    return {
        POOLED: _summarise(rows),
        "sets": {name: _summarise(group) for name, group in rows_by_set(rows).items()},
    }


def clicks_table(summary: dict[str, Any]) -> str:
    """A line per set and one for all rows, of what `summarise_clicks` gave."""
    lines = {**summary["sets"], POOLED: summary[POOLED]}
    return text_table(
        [["set", *SHOWN], *([name, *(means[key] for key in SHOWN.values())] for name, means in lines.items())]
    )


def _summarise(rows: Sequence[Row]) -> dict[str, Any]:
    scores = [column for column in rows[0] if column not in ("set", "image", "seed")]
    images: dict[tuple[Any, Any], list[Row]] = {}
    for row in rows:
        images.setdefault((row["set"], row["image"]), []).append(row)
    gains = [column_mean(group, "iou_gain") or 0.0 for group in images.values()]
    rounds = [[row for row in rows if row["seed"] == round_] for round_ in range(ROUNDS)]
    return {
        "images": len(images),
        "rows": len(rows),
        **{score: column_mean(rows, score) for score in scores},
        "improved": sum(gain > 0 for gain in gains) / len(gains),
        "iou_gain_per_seed": [column_mean(group, "iou_gain") for group in rounds],
        "biou_gain_per_seed": [column_mean(group, "biou_gain") for group in rounds],
    }
