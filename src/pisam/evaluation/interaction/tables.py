"""The numbers of clicks: means per model and set, mean curves, printed tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pisam.core.checks import ALL_IMAGES, POOLED
from pisam.evaluation.interaction.benchmark import BenchmarkRows
from pisam.evaluation.interaction.click_file import ClickedImage
from pisam.evaluation.interaction.curves import TARGETS, Stopwatch
from pisam.evaluation.rows import Row, column_mean, groups_by, text_table

# Heading -> column: what clicks gain, what that is made of, and how many of them it takes.
GAINS = {
    "images": "images",
    "clicks": "clicks",
    "IoU before": "iou_before",
    "after": "iou_after",
    "gain": "iou_gain",
    "oracle": "oracle",
    "share": "oracle_share",
    "boundary gain": "biou_gain",
    "max F gain": "max_f_gain",
    "MAE change": "mae_gain",
    "HCE change": "hce_gain",
}
CONTROLS = {
    "exchanged": "labels_exchanged",
    "random": "random_places",
    "noisy": "iou_gain_noisy",
    "away": "iou_gain_away",
    "obeyed": "obeyed",
    "guaranteed": "obeyed_guaranteed",
    "collateral": "collateral",
}
EFFORT = {
    **{f"NoC@{target}": f"noc_{target}" for target in TARGETS},
    **{f"NoF@{target}": f"nof_{target}" for target in TARGETS},
    "s/click": "seconds_per_click",
}
# Of the benchmark, and of clicks on own errors.
SHOWN = {**GAINS, **CONTROLS, **EFFORT}
OWN = {heading: GAINS[heading] for heading in ("images", "IoU before", "after", "gain", "oracle", "share")}
OWN |= {"boundary gain": "biou_gain", "improved": "improved", **CONTROLS}
del OWN["noisy"]


def summarise_own(rows: Sequence[Row]) -> dict[str, Any]:
    """Means of clicks on own errors: of each use of the model under `uses`, those of the first above too.

    Each has means over all rows under `pooled` and over those of each set under `sets`. `improved` is the
    share of images whose IoU gain, averaged over click seeds, is positive; `..._per_seed` has a mean for each
    click seed.
    """
    uses = {
        str(model): {
            POOLED: _own_means(group),
            "sets": {str(name): _own_means(own) for name, own in groups_by(group, "set").items()},
        }
        for model, group in groups_by(rows, "model").items()
    }
    return {**next(iter(uses.values())), "uses": uses}


def own_table(summary: Mapping[str, Any]) -> str:
    """A line per use of the model and set, and one for all rows, of what `summarise_own` gave."""
    lines = [
        [model, name, *(means.get(key) for key in OWN.values())]
        for model, use in summary["uses"].items()
        for name, means in {**use["sets"], POOLED: use[POOLED]}.items()
    ]
    return text_table([["model", "set", *OWN], *lines])


def summarise_benchmark(measured: BenchmarkRows) -> dict[str, Any]:
    """Per model: means over all images under `pooled` and over those of each set under `sets`; a curve.

    A column's mean is under the column's name; `nof_..` is the number of failed images, not their share, and
    `oracle_share` that of the means. `seconds_per_click` is the mean over the clicks of the iterative
    protocol, until the mask was there at the original size.
    """
    return {
        str(model): {
            POOLED: _benchmark_means(rows) | {"seconds_per_click": _seconds(measured.watches[str(model)])},
            "sets": {str(name): _benchmark_means(group) for name, group in groups_by(rows, "set").items()},
        }
        for model, rows in groups_by(measured.images, "model").items()
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
            **{score: column_mean(rows, score) or 0.0 for score in ("iou", "biou", "oracle")},
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
    """IoU by the number of clicks over all sets, a line per model and protocol, and what its oracle gains."""
    lines: dict[tuple[Any, ...], list[Any]] = {}
    pooled = [row for row in curves if row["set"] == ALL_IMAGES]
    for row in pooled:
        lines.setdefault((row["model"], row["protocol"]), []).append(row["iou"])
    for row in pooled:
        lines.setdefault((row["model"], f"{row['protocol']} oracle, gain"), []).append(row["oracle"])
    numbers = sorted({int(row["clicks"]) for row in pooled})
    return text_table(
        [
            ["model", "IoU after clicks", *map(str, numbers)],
            *([*names, *lines[names]] for names in sorted(lines, key=lambda names: _place(lines, names[0]))),
        ]
    )


def names_of(images: Iterable[ClickedImage]) -> list[str]:
    """`SET/IMAGE` of each."""
    return [f"{image.set}/{image.image}" for image in images]


def _place(lines: Mapping[tuple[Any, ...], Any], model: Any) -> int:
    return [name for name, _ in lines].index(model)


def _own_means(rows: Sequence[Row]) -> dict[str, Any]:
    images = groups_by(rows, "set", "image")
    gains = [column_mean(group, "iou_gain") or 0.0 for group in images.values()]
    by_seed = groups_by(rows, "click_seed").values()
    return {
        "images": len(images),
        "rows": len(rows),
        **_means(rows, leaving_out=("click_seed",)),
        "improved": sum(gain > 0 for gain in gains) / len(gains),
        "iou_gain_per_seed": [column_mean(group, "iou_gain") for group in by_seed],
        "biou_gain_per_seed": [column_mean(group, "biou_gain") for group in by_seed],
    }


def _benchmark_means(rows: Sequence[Row]) -> dict[str, Any]:
    failed = {column: sum(int(row[column]) for row in rows) for column in rows[0] if column[:4] == "nof_"}
    return {"images": len(rows), **_means(rows), **failed}


def _means(rows: Sequence[Row], leaving_out: Sequence[str] = ()) -> dict[str, Any]:
    """Mean of every column of numbers; `oracle_share` is the share of the mean gain in the mean oracle."""
    columns = [name for name, value in rows[0].items() if not isinstance(value, str)]
    means = {column: column_mean(rows, column) for column in columns if column not in leaving_out}
    gain, oracle = means["iou_gain"], means["oracle"]
    return means | {"oracle_share": gain / oracle if oracle and gain is not None else None}


def _seconds(watch: Stopwatch) -> float | None:
    return watch.seconds / watch.clicks if watch.clicks else None
