"""Plots of a benchmark's scores: what each model gained, and how much further clicks bring."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pisam.core.checks import ALL_IMAGES
from pisam.evaluation.rows import Row

SCORES = {"iou": "IoU", "biou": "boundary IoU"}
PROTOCOLS = {"iterative": "-", "single-shot": "--"}
# Okabe and Ito's, told apart by colour-blind eyes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
GAIN, LOSS = "#0072b2", "#d55e00"


def distributions_figure(rows: Sequence[Row]) -> Figure:
    """Per score and model a line for every image from before to after, between boxes of their quartiles.

    Args:
        rows: of `per_image.csv`.
    """
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = figure.subplots(1, len(SCORES), squeeze=False)[0]
    for axes, (score, label) in zip(panels, SCORES.items(), strict=True):
        for position, model in enumerate(models):
            pairs = [
                (float(row[f"{score}_before"]), float(row[f"{score}_after"]))
                for row in rows
                if row["model"] == model
            ]
            _slopes(axes, position, pairs)
        axes.set_xticks(range(len(models)), models, parse_math=False, fontsize=8.5)
        axes.set_xlim(-0.5, len(models) - 0.5)
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel(label)
        _plain(axes)
    return figure


def curves_figure(curves: Sequence[Row]) -> Figure:
    """Mean scores by the number of clicks: one by one on the model's own errors, and all at once.

    Args:
        curves: of `curves.csv`.
    """
    pooled = [row for row in curves if row["set"] == ALL_IMAGES]
    models = list(dict.fromkeys(str(row["model"]) for row in pooled))
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = figure.subplots(1, len(SCORES), squeeze=False)[0]
    for axes, (score, label) in zip(panels, SCORES.items(), strict=True):
        for number, model in enumerate(models):
            for protocol, style in PROTOCOLS.items():
                points = [
                    (float(row["clicks"]), float(row[score]))
                    for row in pooled
                    if (row["model"], row["protocol"]) == (model, protocol)
                ]
                axes.plot(
                    *zip(*sorted(points), strict=True),
                    style,
                    color=COLOURS[number % len(COLOURS)],
                    marker="o",
                    markersize=3,
                    label=f"{model}, {protocol}",
                )
        axes.set_xlabel("clicks")
        axes.set_ylabel(f"{label}, mean over images")
        _plain(axes)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize="small")
    return figure


def _slopes(axes: Axes, position: int, pairs: Sequence[tuple[float, float]]) -> None:
    left, right = position - 0.2, position + 0.2
    strength = max(0.12, min(0.7, 12 / len(pairs)))
    for before, after in pairs:
        colour = GAIN if after >= before else LOSS
        axes.plot([left, right], [before, after], color=colour, alpha=strength, linewidth=0.9)
    axes.boxplot(
        list(zip(*pairs, strict=True)),
        positions=[left - 0.09, right + 0.09],
        widths=0.12,
        showfliers=False,
        manage_ticks=False,
        medianprops={"color": "#222", "linewidth": 2},
    )


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#ddd", linewidth=0.6)
    axes.set_axisbelow(True)
