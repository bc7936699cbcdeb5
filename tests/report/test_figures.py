"""Figures: which window is zoomed, and that panels show what they say."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from pisam.core.drawing import FALSE, FOREGROUND_CLICK, MISSED
from pisam.report.examples import Answer, Example
from pisam.report.figures import PANEL, Window, clicks_figure, models_figure, most_changed

HEIGHT, WIDTH = 100, 200


def example(*changes: tuple[slice, slice]) -> Example:
    """A square object; model k invents the k-th of `changes` after the clicks and misses a corner before."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[40:60, 60:140] = True
    answers = {}
    for number, change in enumerate(changes):
        before = mask.copy()
        before[40:45, 60:65] = False
        after = before.copy()
        after[change] ^= True
        answers[f"model {number}"] = Answer(before, after, 0.5, 0.25)
    photo = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    return Example("val/$x$_1", photo, mask, ((150.5, 20.5, 1),), answers)


LARGE, SMALL, NONE = np.s_[0:60, 0:60], np.s_[10:30, 140:180], np.s_[0:0, 0:0]


def test_the_last_models_change_is_zoomed_however_much_others_change() -> None:
    shown = example(LARGE, SMALL)
    window = most_changed(shown, list(shown.answers))
    assert (window.width, window.height) == (40, 20)
    assert (window.x, window.y) == (140, 10)
    changed = shown.answers["model 1"].before ^ shown.answers["model 1"].after
    assert window.cut(changed).sum() == changed.sum()
    assert window.clicks(shown.clicks) == [(10.5, 10.5, 1)]


def test_where_the_last_model_changes_nothing_another_is_zoomed() -> None:
    shown = example(SMALL, NONE)
    assert most_changed(shown, list(shown.answers)) == Window(140, 10, 40, 20)
    shown = example(NONE, NONE)
    assert most_changed(shown, list(shown.answers)) == Window(0, 0, 40, 20)


def pixels(axes: Axes) -> np.ndarray:
    (image,) = axes.images
    return np.asarray(image.get_array())


def at(axes: Axes, x: float, y: float, frame: tuple[int, int] = (WIDTH, HEIGHT)) -> tuple[int, ...]:
    """The colour that a panel shows at a place of the image."""
    scale = PANEL / max(frame)
    return tuple(pixels(axes)[int(y * scale), int(x * scale)].tolist())


def test_models_side_by_side() -> None:
    shown = [example(SMALL, SMALL), example(LARGE, NONE)]
    figure = models_figure(shown, ["model 0", "model 1"])
    assert len(figure.axes) == 2 * 4
    assert [axes.get_title() for axes in figure.axes[:4]] == ["image", "mask", "model 0", "model 1"]
    image, mask, first, _ = figure.axes[:4]
    assert at(image, 10, 10) == (90, 90, 90)
    assert at(mask, 62, 42) == (255, 255, 255) and at(mask, 10, 10) == (0, 0, 0)
    assert at(first, 62, 42) == MISSED
    assert first.get_xlabel() == "IoU 0.500"
    (box,) = image.patches
    assert box.get_bbox().bounds == (60 * 2.4 - 0.5, 40 * 2.4 - 0.5, 80 * 2.4, 20 * 2.4)
    figure.draw_without_rendering()  # also a name that looks like a formula


def test_before_after_and_the_same_window_of_both() -> None:
    shown = [example(LARGE, SMALL)]
    figure = clicks_figure(shown, ["model 0", "model 1"])
    rows = np.array(figure.axes).reshape(2, 6)
    whole, before, after, zoom, _, zoomed_after = rows[1]
    assert at(before, 160, 20) == (0, 0, 0) and at(after, 160, 25) == FALSE
    assert at(after, 150.5, 20.5) == FOREGROUND_CLICK
    assert at(zoomed_after, 10.5, 10.5, (40, 20)) == FOREGROUND_CLICK
    assert at(zoomed_after, 39, 19, (40, 20)) == FALSE
    assert at(rows[0][0], 10, 10) == (90, 90, 90) and at(whole, 70, 50) == (255, 255, 255)
    assert (before.get_xlabel(), after.get_xlabel()) == ("IoU 0.500", "IoU 0.250")
    assert [axes.get_ylabel() for axes in rows[:, 1]] == ["model 0", "model 1"]
    assert pixels(zoom).shape == (PANEL // 2, PANEL, 3)


def test_more_models_than_there_is_truth_to_show_leave_panels_empty() -> None:
    figure = clicks_figure([example(LARGE, SMALL, SMALL)], ["model 0", "model 1", "model 2"])
    last = np.array(figure.axes).reshape(3, 6)[2]
    assert [len(axes.images) for axes in last] == [0, 1, 1, 0, 1, 1]
