"""Places where a simulated user clicks: one function per policy, for one image.

Each takes the error map of an image and returns pixels as int64 rows (x, y, label) in the order of clicking.
All chance comes from the generator it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pisam.clicks.components import Components, ErrorMap, component_mask, depth_map, find_components
from pisam.clicks.users import deepest_click, human_click

Pixels = NDArray[np.int64]

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
