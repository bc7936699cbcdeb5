"""Places where a simulated user clicks, on the error map of one image.

A policy returns pixels as int64 rows (x, y, label) in the order of clicking. The users of number-of-clicks
benchmarks, `deepest_click` and `human_click`, take the pixels clicked before, too, and return one (x, y,
label), or None where nothing is left to click. All chance comes from the generator that is given.

Sources: RITM (Sofiiuk et al., ICIP 2022, its published clicker); RClicks (Antonov et al., NeurIPS 2024, its
published tables).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pisam.clicks.components import Components, ErrorMap, component_mask, depth_map, find_components

Pixel = tuple[int, int, int]
Clicked = NDArray[np.bool_]
Pixels = NDArray[np.int64]

# RClicks smooths recorded clicks with normal noise of deviation s; of s = 0.01 .. 120 pixels, 5 fits best
# (its ablation on TETRIS: highest KS and NSS, lowest Wasserstein distance).
JITTER = 5.0  # pixels of the original image


def deepest_click(errors: ErrorMap, clicked: Clicked | None = None) -> Pixel | None:
    """RITM's rule: the pixel of the error that is farthest from the right pixels and the border.

    Missed and false foreground are measured apart, and the border counts as right. The deeper of the two is
    clicked, the false one where they are equally deep; of equally deep pixels the first in reading order. A
    pixel is clicked once, but a clicked one goes on being part of its error.

    Args:
        errors: uint8 (H, W), see `inspection.error_maps`.
        clicked: bool (H, W), the pixels clicked before.

    Returns:
        (x, y, label), or None. RITM's own code clicks (0, 0) there.
    """
    false, missed = (_deepest(errors == code, clicked) for code in (1, 2))
    if missed[0] > false[0]:
        return (*missed[1], 1)
    return (*false[1], 0) if false[0] else None


def human_click(
    errors: ErrorMap, rng: np.random.Generator, clicked: Clicked | None = None, jitter: float = JITTER
) -> Pixel | None:
    """A click as people place it: anywhere on the error that RITM's rule would click, rather deep than not.

    A pixel is as likely as it is deep: the distribution `DT` of RClicks, under which recorded clicks are
    likelier (NSS and PDE, all five sets) than under its others without a network. Its network is nearer
    still, and needs its weights. The hand then misses by normal noise, so that a click may lie beside the
    error; its label stays what was meant.

    Args:
        errors: uint8 (H, W), see `inspection.error_maps`.
        rng: all randomness.
        clicked: bool (H, W), the pixels clicked before; the noise may meet one again.
        jitter: deviation of the noise along x and y, in pixels.
    """
    aim = deepest_click(errors, clicked)
    if aim is None:
        return None
    label = aim[2]
    depth = depth_map(errors == label + 1).astype(np.float64)
    if clicked is not None:
        depth[clicked] = 0
    total = depth.ravel().cumsum()
    meant = int(total.searchsorted(rng.random() * total[-1], side="right"))
    y, x = np.unravel_index(meant, depth.shape)
    place = np.rint((x, y) + rng.normal(0, 1, size=2) * jitter)
    height, width = errors.shape
    return int(np.clip(place[0], 0, width - 1)), int(np.clip(place[1], 0, height - 1)), label


def _deepest(inside: NDArray[np.bool_], clicked: Clicked | None) -> tuple[int, tuple[int, int]]:
    """The squared depth of the deepest unclicked pixel, 0 where there is none, and that pixel."""
    left, top, width, height = cv2.boundingRect(inside.view(np.uint8))
    if not width:
        return 0, (0, 0)
    here = np.s_[top : top + height, left : left + width]
    depth = depth_map(inside[here], exact=True)
    if clicked is not None:
        depth[clicked[here]] = 0
    # Squares of distances between pixels are whole numbers; roots of equal ones may differ in the last bit.
    row, column = divmod(int(depth.argmax()), width)
    return round(float(depth[row, column]) ** 2), (left + column, top + row)


RELEASED_MIN_AREA = 2


def clicks_per_component(areas: NDArray[np.int64], min_area: int) -> NDArray[np.int64]:
    """N = max(1, min(10, sqrt(area) / 10)) rounded down; 0 for a component under `min_area` pixels.

    Source: supplement B of the Pi-SAM paper.
    """
    counts = np.clip(np.sqrt(areas) // 10, 1, 10).astype(np.int64)
    return np.where(areas >= min_area, counts, 0)


def paper_clicks(
    errors: ErrorMap,
    rng: np.random.Generator,
    *,
    max_clicks: int,
    min_area: int,
    margin: float,
    connectivity: int,
) -> Pixels:
    """Random points in the interior of every component, shuffled, the first `max_clicks` (supplement B, C).

    Which components the first `max_clicks` belong to is drawn before any pixel is: the result is distributed
    as if all points had been drawn and shuffled, and components without a click cost nothing.
    """
    components = find_components(errors, connectivity)
    planned = clicks_per_component(components.areas, min_area)
    ends = planned.cumsum()
    total = int(ends[-1]) if len(ends) else 0
    slots = rng.choice(total, min(total, max_clicks), replace=False, shuffle=True)
    owners = ends.searchsorted(slots, side="right")

    offsets = np.empty_like(owners)
    for row in np.unique(owners):
        depth = depth_map(component_mask(components, row))
        interior = np.flatnonzero(depth > margin * depth.max())
        mine = np.flatnonzero(owners == row)
        # A pixel is drawn twice only where the planned points outnumber the interior's pixels.
        offsets[mine] = rng.choice(interior, len(mine), replace=bool(planned[row] > len(interior)))
    return _in_image(components, owners, offsets)


def released_clicks(
    errors: ErrorMap, rng: np.random.Generator, *, max_clicks: int, connectivity: int, **unused: Any
) -> Pixels:
    """One random pixel in each of the largest components that a 3x3 erosion leaves with 2 pixels or more.

    Source: the released training code, which erodes each kind of error before it looks for components.
    """
    eroded = np.zeros_like(errors)
    for code in (1, 2):
        core = cv2.erode((errors == code).view(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
        eroded[core > 0] = code
    components = find_components(eroded, connectivity)
    largest_first = np.argsort(-components.areas, kind="stable")
    kept = largest_first[components.areas[largest_first] >= RELEASED_MIN_AREA][:max_clicks]

    offsets = [rng.choice(np.flatnonzero(component_mask(components, row))) for row in kept]
    return _in_image(components, kept, np.array(offsets, np.int64))


def centre_click(
    errors: ErrorMap, rng: np.random.Generator | None = None, *, connectivity: int, **unused: Any
) -> Pixels:
    """The deepest pixel of the largest component, the first in reading order among equals; at most one click.

    Source: the number-of-clicks benchmarks of interactive segmentation, as in RITM.
    """
    components = find_components(errors, connectivity)
    if not len(components):
        return np.empty((0, 3), np.int64)
    row = int(components.areas.argmax())
    depth = depth_map(component_mask(components, row), exact=True)
    return _in_image(components, np.array([row]), np.array([depth.argmax()]))


def uniform_clicks(errors: ErrorMap, rng: np.random.Generator, *, max_clicks: int, **unused: Any) -> Pixels:
    """`max_clicks` different pixels of the error, each pixel as likely as any other (SAM 2's training)."""
    wrong = np.flatnonzero(errors)
    chosen = wrong[rng.choice(len(wrong), min(len(wrong), max_clicks), replace=False)]
    y, x = np.unravel_index(chosen, errors.shape)
    return np.stack([x, y, errors[y, x].astype(np.int64) - 1], axis=1)


def ritm_click(errors: ErrorMap, rng: np.random.Generator | None = None, **unused: Any) -> Pixels:
    """The one pixel that RITM's clicker takes."""
    return _one(deepest_click(errors))


def person_click(errors: ErrorMap, rng: np.random.Generator, **unused: Any) -> Pixels:
    """One pixel as a person would place it."""
    return _one(human_click(errors, rng))


# The names that `clicks.policy` may have; each takes error map and generator, and all settings by keyword.
POLICIES: dict[str, Callable[..., Pixels]] = {
    "paper": paper_clicks,
    "released": released_clicks,
    "centre": centre_click,
    "uniform": uniform_clicks,
    "ritm": ritm_click,
    "human": person_click,
}


def disturb(pixels: Pixels, shape: tuple[int, int], rng: np.random.Generator, noise: float) -> Pixels:
    """Spoil each click with probability `noise`: half move anywhere in the image, half change their label."""
    height, width = shape
    fate = rng.random(len(pixels))
    anywhere = rng.integers((width, height), size=(len(pixels), 2))
    moved = fate < noise / 2
    mislabelled = (fate >= noise / 2) & (fate < noise)
    disturbed = pixels.copy()
    disturbed[moved, :2] = anywhere[moved]
    disturbed[mislabelled, 2] = 1 - disturbed[mislabelled, 2]
    return disturbed


def _one(click: tuple[int, int, int] | None) -> Pixels:
    return np.array([] if click is None else [click], np.int64).reshape(-1, 3)


def _in_image(components: Components, rows: NDArray[np.int64], offsets: NDArray[np.int64]) -> Pixels:
    """Flat offsets into the boxes of the components `rows`, one each, as rows (x, y, label)."""
    left, top, right, _ = components.boxes[rows].T
    y, x = np.divmod(offsets, right - left)
    return np.stack([x + left, y + top, components.labels[rows]], axis=1)
