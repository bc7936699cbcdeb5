"""Simulated users who click once on the error they see, as the number-of-clicks benchmarks have them.

Both take an error map and the pixels clicked before, and return (x, y, label) of a pixel or None where
nothing is left to click. Sources: RITM (Sofiiuk et al., ICIP 2022, its published clicker); RClicks (Antonov
et al., NeurIPS 2024, its published tables).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pisam.clicks.components import ErrorMap, depth_map

Pixel = tuple[int, int, int]
Clicked = NDArray[np.bool_]

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
