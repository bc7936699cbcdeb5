"""The skeleton of a mask, pixel for pixel scikit-image's, on packed words and only where they still
change."""

from __future__ import annotations

from itertools import cycle

import numpy as np

from pisam.metrics.packed import BITS, pack, unpack
from pisam.metrics.thinning_rule import decision_diagram


def skeleton(mask: np.ndarray) -> np.ndarray:
    """Thin a mask as `skimage.morphology.skeletonize` does (Zhang and Suen, CACM 1984, with its changes).

    Args:
        mask: bool (H, W).

    Returns:
        bool (H, W).
    """
    framed = np.pad(pack(mask), 1)
    words, stride = framed.reshape(-1), framed.shape[1]
    around = [row * stride + column for row in (-1, 0, 1) for column in (-1, 0, 1)]
    marked = np.zeros(len(words), bool)
    before_last = last = np.flatnonzero(words)
    for number in cycle((1, 2)):
        # A pass can remove something only near what has changed since it was here, two passes ago.
        for step in around:
            marked[before_last + step] = marked[last + step] = True
        active = np.flatnonzero(marked)
        marked[active] = False
        active = active[words[active] != 0]
        if not len(active):
            break
        removed = words[active] & _removable(words, active, stride, number)
        changed = removed != 0
        before_last, last = last, active[changed]
        words[last] &= ~removed[changed]
    return unpack(np.ascontiguousarray(framed[1:-1, 1:-1]), mask.shape[1])


def _removable(words: np.ndarray, active: np.ndarray, stride: int, number: int) -> np.ndarray:
    """uint64 (N,): the pixels of the active words whose neighbours let them go in this pass."""
    (north_west, north, north_east), (west, _, east), (south_west, south, south_east) = (
        _with_neighbours(words, active + step) for step in (-stride, 0, stride)
    )
    ring = [north_west, north, north_east, east, south_east, south, south_west, west]
    results: list[np.ndarray] = []
    for neighbour, absent, present in decision_diagram(number):
        plane = ring[neighbour]
        # 0 and 1 stand for the constants, which leave less to compute; others for earlier results.
        match absent, present:
            case 0, 1:
                result = plane
            case 1, 0:
                result = ~plane
            case 0, _:
                result = plane & results[present - 2]
            case _, 0:
                result = ~plane & results[absent - 2]
            case 1, _:
                result = ~plane | results[present - 2]
            case _, 1:
                result = plane | results[absent - 2]
            case _:
                low, high = results[absent - 2], results[present - 2]
                result = low ^ (plane & (low ^ high))
        results.append(result)
    return results[-1]


def _with_neighbours(words: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words of the left neighbours of the pixels at `where`, of these and of their right neighbours."""
    one, rest = np.uint64(1), np.uint64(BITS - 1)
    middle = words[where]
    return (
        (middle << one) | (words[where - 1] >> rest),
        middle,
        (middle >> one) | (words[where + 1] << rest),
    )
