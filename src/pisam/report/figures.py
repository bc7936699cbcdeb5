"""Figures: scores of a benchmark, models side by side on images, and what clicks change.

Source: figures 3 and 4 of the Pi-SAM paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from pisam.core.checks import ALL_IMAGES
from pisam.core.drawing import (
    BACKGROUND_CLICK,
    FALSE,
    FOREGROUND_CLICK,
    MISSED,
    as_hex,
    draw_clicks,
    error_regions,
    painted,
)
from pisam.core.types import BoolArray, Click, UInt8Array
from pisam.data.transforms import box_of
from pisam.evaluation.rows import Row
from pisam.report.examples import Example

SCORES = {"iou": "IoU", "biou": "boundary IoU"}
PROTOCOLS = {"iterative": "-", "single-shot": "--"}
# Okabe and Ito's, told apart by colour-blind eyes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
GAIN, LOSS = "#0072b2", "#d55e00"


def distributions_figure(rows: Sequence[Row]) -> Figure:
    """Per score and model a line for each row from before to after, between boxes of their quartiles."""
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
    """Mean scores by number of clicks (`curves.csv`): one by one on the model's own errors, all at once."""
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


WIDTH = 7.2  # inches, two columns of text
PANEL = 480  # pixels of a panel's longer side
ZOOM = 5  # a zoomed window has this fraction of the image's sides
FLATTEST, STEEPEST = 0.5, 1.2  # height / width of a panel; what is beyond is shown smaller
LONGEST_NAME = 18  # characters
SMALL = 6.5  # points
RADIUS = 9  # of clicks, in pixels of a panel
PROMPT = WINDOW = "#ffb000"
ERRORS = (Patch(color=as_hex(MISSED), label="missed"), Patch(color=as_hex(FALSE), label="false"))


@dataclass(frozen=True)
class Window:
    """Part of an image: pixels from its upper left corner, and their number."""

    x: int
    y: int
    width: int
    height: int

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """The part of pixels (H, W, ...)."""
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]

    def clicks(self, clicks: Sequence[Click]) -> list[Click]:
        """Clicks as seen from its corner."""
        return [(x - self.x, y - self.y, label) for x, y, label in clicks]


def models_figure(examples: Sequence[Example], models: Sequence[str]) -> Figure:
    """A row per image: the image with its box, the true mask, each model's answer to the box."""
    shapes = [example.mask.shape for example in examples]
    figure, grid = _grid(shapes, 2 + len(models))
    for axes, title in zip(grid[0], ("image", "mask", *models), strict=True):
        _title(axes, title)
    for example, row in zip(examples, grid, strict=True):
        _show(row[0], example.photo)
        _label(row[0], example.name)
        _outline(row[0], _box(example.mask), example, PROMPT)
        _show(row[1], painted(example.mask.astype(np.uint8)))
        for axes, model in zip(row[2:], models, strict=True):
            answer = example.answers[model]
            _show(axes, _errors(example, answer.before))
            _note(axes, f"IoU {answer.iou_before:.3f}")
    _legend(figure, [*ERRORS, Line2D([], [], color=PROMPT, label="prompt")])
    return figure


def clicks_figure(examples: Sequence[Example], models: Sequence[str]) -> Figure:
    """A row per image and model: masks before and after the clicks, and the window that they change most.

    The image and its true mask stand left of the first two models, whole and zoomed. The window is the same
    for all models, so that they can be compared: see `most_changed`.
    """
    shapes = [example.mask.shape for example in examples for _ in models]
    figure, grid = _grid(shapes, 6)
    for axes, title in zip(
        grid[0], ("image, mask", "before", "after", "zoomed", "before", "after"), strict=True
    ):
        _title(axes, title)
    rows = iter(grid)
    for example in examples:
        window = most_changed(example, models)
        truth = [example.photo, painted(example.mask.astype(np.uint8))]
        for number, model in enumerate(models):
            whole, before, after, zoomed, zoomed_before, zoomed_after = next(rows)
            answer = example.answers[model]
            _show_with_zoom(before, zoomed_before, _errors(example, answer.before), example, window)
            _show_with_zoom(after, zoomed_after, _errors(example, answer.after), example, window)
            if number < len(truth):
                _show_with_zoom(whole, zoomed, truth[number], example, window)
            if number == 0:
                _label(whole, example.name)
            _label(before, model)
            _note(before, f"IoU {answer.iou_before:.3f}")
            _note(after, f"IoU {answer.iou_after:.3f}")
    dots = [
        Line2D([], [], color=as_hex(colour), marker="o", linestyle="", label=label)
        for colour, label in ((FOREGROUND_CLICK, "click: object"), (BACKGROUND_CLICK, "click: background"))
    ]
    _legend(figure, [*ERRORS, *dots, Line2D([], [], color=WINDOW, label="zoomed")])
    return figure


def most_changed(example: Example, models: Sequence[str]) -> Window:
    """The window, a `ZOOM`-th of the image's sides, in which the last model's mask changes most.

    Where it does not change at all, the one in which any of the models' masks does.
    """
    changes = [example.answers[model].before ^ example.answers[model].after for model in models]
    changed = changes[-1] if changes[-1].any() else np.logical_or.reduce(changes)
    height, width = example.mask.shape
    window_height, window_width = -(-height // ZOOM), -(-width // ZOOM)
    # Sums over all rectangles from the corner give those of all windows.
    sums = cv2.integral(changed.astype(np.uint8))
    ends, starts = sums[window_height:], sums[:-window_height]
    inside = (
        ends[:, window_width:]
        - ends[:, :-window_width]
        - starts[:, window_width:]
        + starts[:, :-window_width]
    )
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return Window(int(x), int(y), window_width, window_height)


def _grid(shapes: Sequence[tuple[int, ...]], columns: int) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a row of panels per (H, W) of `shapes`."""
    ratios = [min(max(height / width, FLATTEST), STEEPEST) for height, width in shapes]
    panel = WIDTH / columns
    layout = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0, compress=True)
    figure = Figure(figsize=(WIDTH, sum(ratios) * panel + 0.12 * len(shapes) + 0.3), layout=layout)
    grid = figure.subplots(len(shapes), columns, squeeze=False, height_ratios=ratios)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_axis_off()  # until something is shown there
    return figure, grid.tolist()


def _show(axes: Axes, pixels: UInt8Array, clicks: Sequence[Click] = ()) -> None:
    """Fill a panel with a picture (H, W, 3), at a size that fits print, and with clicks in its pixels."""
    height, width = pixels.shape[:2]
    scale = PANEL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    picture = Image.fromarray(pixels).resize(size, method)
    axes.imshow(np.asarray(draw_clicks(picture, clicks, scale=scale, radius=RADIUS)))
    axes.set_axis_on()
    axes.spines[:].set(color="#999", linewidth=0.4)


def _errors(example: Example, mask: BoolArray) -> UInt8Array:
    return painted(error_regions(mask, example.mask))


def _show_with_zoom(axes: Axes, zoomed: Axes, pixels: UInt8Array, example: Example, window: Window) -> None:
    _show(axes, pixels, example.clicks)
    _outline(axes, window, example, WINDOW)
    _show(zoomed, window.cut(pixels), window.clicks(example.clicks))


def _box(mask: BoolArray) -> Window:
    left, top, right, bottom = box_of(mask).astype(int).tolist()
    return Window(left, top, right - left, bottom - top)


def _outline(axes: Axes, window: Window, example: Example, colour: str) -> None:
    """Draw a window's edges where `_show` put the example's image."""
    height, width = example.mask.shape
    scale = PANEL / max(height, width)
    corner = window.x * scale - 0.5, window.y * scale - 0.5
    axes.add_patch(
        Rectangle(corner, window.width * scale, window.height * scale, fill=False, edgecolor=colour, lw=0.8)
    )


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=SMALL + 1, pad=2, parse_math=False)


def _label(axes: Axes, text: str) -> None:
    """Write a text, or set and image below each other, along a panel's left side."""
    lines = [
        part if len(part) <= LONGEST_NAME else f"…{part[1 - LONGEST_NAME :]}" for part in text.split("/")
    ]
    axes.set_ylabel("\n".join(lines), fontsize=SMALL, labelpad=2, parse_math=False)


def _note(axes: Axes, text: str) -> None:
    axes.set_xlabel(text, fontsize=SMALL, labelpad=1)


def _legend(figure: Figure, handles: Sequence[Patch | Line2D]) -> None:
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=len(handles),
        fontsize=SMALL,
        frameon=False,
        handlelength=1.2,
    )
