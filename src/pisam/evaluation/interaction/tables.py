"""The numbers of the interaction benchmark: means per model and set, mean curves, printed tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pisam.core.set_names import ALL_IMAGES, POOLED
from pisam.evaluation.interaction.benchmark import BenchmarkRows
from pisam.evaluation.interaction.common_error import ClickedImage
from pisam.evaluation.interaction.curves import TARGETS, Stopwatch
from pisam.evaluation.rows import TEXTS, Row, column_mean, rows_by_set, text_table

SHOWN = {
    "images": "images",
    "clicks": "clicks",
    "IoU before": "iou_before",
    "after": "iou_after",
    "gain": "iou_gain",
    "boundary gain": "biou_gain",
    "max F gain": "max_f_gain",
    "MAE change": "mae_gain",
    "HCE change": "hce_gain",
    "flipped": "iou_gain_flipped",
    "random": "iou_gain_random",
    "noisy": "iou_gain_noisy",
    "away": "iou_gain_away",
    "obeyed": "clicked_flipped",
    "collateral": "collateral",
    **{f"NoC@{target}": f"noc_{target}" for target in TARGETS},
    **{f"NoF@{target}": f"nof_{target}" for target in TARGETS},
    "s/click": "seconds_per_click",
}


def summarise_benchmark(measured: BenchmarkRows) -> dict[str, Any]:
    """Per model: means over all images under `pooled` and over those of each set under `sets`; a curve.

    A column's mean is under the column's name; `nof_..` is the number of failed images, not their share.
    `seconds_per_click` is the mean over the clicks of the iterative protocol.
    """
    return {
        model: {
            POOLED: _means(rows) | {"seconds_per_click": _seconds(measured.watches[model])},
            "sets": {name: _means(group) for name, group in rows_by_set(rows).items()},
        }
        for model, rows in _by_model(measured.images).items()
    }


def mean_curves(curves: Iterable[Row]) -> list[Row]:
    """A row per model, set, protocol and number of clicks, with means over images; first over all sets."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in curves:
        for name in (ALL_IMAGES, row["set"]):
            key = (row["model"], name, row["protocol"], row["clicks"])
            groups.setdefault(key, []).append(row)
    models = list(dict.fromkeys(model for model, *_ in groups))
    return [
        {
            **dict(zip(("model", "set", "protocol", "clicks"), key, strict=True)),
            "images": len(rows),
            **{score: column_mean(rows, score) or 0.0 for score in ("iou", "biou")},
        }
        for model in models
        for key, rows in sorted(
            (item for item in groups.items() if item[0][0] == model),
            key=lambda item: (item[0][1] != ALL_IMAGES, item[0][1], item[0][2], item[0][3]),
        )
    ]


def benchmark_table(summary: Mapping[str, Any]) -> str:
    """A line per model, of what `summarise_benchmark` gave."""
    lines = [[name, *(means[POOLED][key] for key in SHOWN.values())] for name, means in summary.items()]
    return text_table([["model", *SHOWN], *lines])


def curves_table(curves: Sequence[Row]) -> str:
    """IoU by the number of clicks over all sets, a line per model and protocol, of `mean_curves`."""
    lines: dict[tuple[Any, Any], list[Any]] = {}
    pooled = [row for row in curves if row["set"] == ALL_IMAGES]
    for row in pooled:
        lines.setdefault((row["model"], row["protocol"]), []).append(row["iou"])
    numbers = sorted({int(row["clicks"]) for row in pooled})
    return text_table(
        [
            ["model", "IoU after clicks", *map(str, numbers)],
            *([*names, *values] for names, values in lines.items()),
        ]
    )


def names_of(images: Iterable[ClickedImage]) -> list[str]:
    """`SET/IMAGE` of each."""
    return [f"{image.set}/{image.image}" for image in images]


def _by_model(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row["model"]), []).append(row)
    return groups


def _means(rows: Sequence[Row]) -> dict[str, Any]:
    columns = [column for column in rows[0] if column not in TEXTS]
    means: dict[str, Any] = {"images": len(rows), **{column: column_mean(rows, column) for column in columns}}
    failed = [column for column in columns if column.startswith("nof_")]
    return means | {column: sum(int(row[column]) for row in rows) for column in failed}


def _seconds(watch: Stopwatch) -> float | None:
    return watch.seconds / watch.clicks if watch.clicks else None
