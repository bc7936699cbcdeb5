"""The leaderboard as a page and two tables: `index.html`, `leaderboard.csv`, `per_image.csv`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pisam.evaluation.benchmark.leaderboard import LeftOut, Ranked, Table
from pisam.evaluation.benchmark.record import CONTROLS
from pisam.evaluation.rows import Row, write_csv
from pisam.metrics.number_of_clicks import TARGETS, heading
from pisam.report.page import asset, render
from pisam.report.write import replacing_folder

FIRST = ("noc_90", "noc_95", "iou_5")  # decide the order of the rows, and stand first


def write_leaderboard(tables: Sequence[Table], left_out: Sequence[LeftOut], folder: Path) -> None:
    """Write the page and the tables, in place of an earlier leaderboard.

    Raises:
        PisamError: the folder holds something else; nothing was changed.
    """
    with replacing_folder(folder) as new:
        text = leaderboard_page(tables, left_out)
        (new / "index.html").write_text(text, encoding="utf-8", errors="backslashreplace")
        write_csv([row for table in tables for row in _rows(table)], new / "leaderboard.csv")
        scores = dict.fromkeys(score for table in tables for score in table.scores)
        rows = [row for number, table in enumerate(tables, start=1) for row in _image_rows(number, table)]
        write_csv(rows, new / "per_image.csv", ["table", "model", "set", "image", *scores])


def leaderboard_page(tables: Sequence[Table], left_out: Sequence[LeftOut]) -> str:
    """The page as HTML, which needs nothing beside it."""
    data = [
        {
            "images": ["/".join(key) for key in table.images],
            "scores": {score: ranked.values.round(4).tolist() for score, ranked in table.scores.items()},
        }
        for table in tables
    ]
    # "<" alone could end the script that holds the data.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return render(
        "leaderboard.html",
        tables=[_shown(table) for table in tables],
        left_out=left_out,
        data=Markup(text),
        script=Markup(asset("leaderboard.js")),
    )


def _order(table: Table) -> list[int]:
    """The models, best first by `FIRST`."""
    keys = [table.scores[score].ranks for score in FIRST if score in table.scores]
    return [int(index) for index in np.lexsort(keys[::-1])]


def _shown(table: Table) -> dict[str, Any]:
    scores = [*(s for s in FIRST if s in table.scores), *(s for s in table.scores if s not in FIRST)]
    columns = [heading(score) for score in (*scores, *(f"nof_{target}" for target in TARGETS))] + ["s/click"]
    return {
        "id": table.id,
        "protocol": ", ".join(f"{key} {value}" for key, value in table.protocol.items()),
        "digest": table.digest[:12],
        "count": len(table.images),
        "names": table.names,
        "scores": scores,
        "columns": [*columns, *(name.replace("_", " ") for name in CONTROLS)],
        "rows": [
            {
                "name": table.names[model],
                "cells": [
                    *(_cell(table.scores[score], model) for score in scores),
                    *(_plain(f"{table.failures[target][model]}") for target in TARGETS),
                    _plain(_number(table.seconds[model])),
                    *(_plain(_number(table.controls[name][model])) for name in CONTROLS),
                ],
            }
            for model in _order(table)
        ],
    }


def _cell(ranked: Ranked, model: int) -> dict[str, Any]:
    best, worst = ranked.best[model], ranked.worst[model]
    rank = f"rank {ranked.ranks[model]}" + (f" ({best} to {worst})" if best != worst else "")
    digits = 2 if ranked.lower else 3
    interval = f"{ranked.low[model]:.{digits}f} to {ranked.high[model]:.{digits}f}"
    return {
        "text": f"{ranked.means[model]:.{digits}f}",
        "below": f"{interval}, {rank}",
        "first": ranked.ranks[model] == 1,
    }


def _plain(text: str) -> dict[str, Any]:
    return {"text": text, "below": "", "first": False}


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _rows(table: Table) -> list[Row]:
    """The rows of `leaderboard.csv`: one per model and score."""
    head: Row = {"protocol": table.id, "table": table.digest[:12], "images": len(table.images)}
    rows: list[Row] = []
    for model in _order(table):
        named: Row = {**head, "model": table.names[model], "file": table.files[model]}
        for score, ranked in table.scores.items():
            rows.append(
                {
                    **named,
                    "score": score,
                    "mean": float(ranked.means[model]),
                    "low": float(ranked.low[model]),
                    "high": float(ranked.high[model]),
                    "rank": int(ranked.ranks[model]),
                    "rank_best": int(ranked.best[model]),
                    "rank_worst": int(ranked.worst[model]),
                }
            )
        single = {f"nof_{target}": float(table.failures[target][model]) for target in TARGETS}
        single |= {"seconds_per_click": float(table.seconds[model])}
        single |= {name: float(table.controls[name][model]) for name in CONTROLS}
        empty = dict.fromkeys(("low", "high", "rank", "rank_best", "rank_worst"), math.nan)
        rows += [{**named, "score": score, "mean": value, **empty} for score, value in single.items()]
    return rows


def _image_rows(number: int, table: Table) -> Iterator[Row]:
    values = {score: ranked.values.round(6).tolist() for score, ranked in table.scores.items()}
    for model, name in enumerate(table.names):
        for index, (set_name, image) in enumerate(table.images):
            scores = {score: of_models[model][index] for score, of_models in values.items()}
            yield {"table": number, "model": name, "set": set_name, "image": image, **scores}
