"""The skeleton of a mask, pixel for pixel scikit-image's, on packed words that still change."""

from __future__ import annotations

from functools import lru_cache
from itertools import cycle

import numpy as np

from pisam.metrics.packed import BITS, pack, unpack

RING = ("NW", "N", "NE", "E", "SE", "S", "SW", "W")

# Where scikit-image departs from Zhang and Suen: pixels with just these neighbours go in pass 1, pass 2, both
# (3) or neither (0). Mostly, corners go that 8-connectivity does not need, and ends of short diagonals stay
# longer.
_DEPARTURES = {
    0: ["SE S", "NW W"],
    1: ["NW N", "N NE", "NE E", "N NE E", "NW N W", "NW N E", "N NE W", "NW S W", "N SW W", "N NE SW W"],
    2: ["E SE", "S SW", "SW W", "E SE S", "S SW W", "N E SE", "E S SW", "SE S W", "NE E S SW"],
    3: ["N E", "E S", "S W", "N W"],
}
_PASSES = {frozenset(names.split()): passes for passes, group in _DEPARTURES.items() for names in group}

# Asking for the neighbours in this order keeps the diagrams small.
_ORDER = [RING.index(name) for name in ("N", "NE", "S", "SE", "SW", "NW", "E", "W")]


def removes(number: int, neighbours: frozenset[str]) -> bool:
    """True where a pass removes a pixel.

    Args:
        number: of the pass, 1 or 2.
        neighbours: those of `RING` that are object.
    """
    if neighbours in _PASSES:
        return bool(_PASSES[neighbours] & number)
    ring = [name in neighbours for name in RING]
    starts = sum(present and not ring[index - 1] for index, present in enumerate(ring))
    one, other = ("NES", "ESW") if number == 1 else ("NEW", "NSW")
    surrounded = neighbours.issuperset(one) or neighbours.issuperset(other)
    return starts == 1 and 2 <= len(neighbours) <= 6 and not surrounded


@lru_cache(maxsize=2)
def decision_diagram(number: int) -> list[tuple[int, int, int]]:
    """The rule of a pass as a diagram that shares its equal branches.

    Args:
        number: of the pass, 1 or 2.

    Returns:
        Nodes, each after those it refers to, the last one the root: index of a neighbour in `RING`, what
        follows if it is absent, what follows if it is present. 0 and 1 are the verdicts (stay, go), i + 2 is
        node i.
    """
    nodes: dict[tuple[int, int, int], int] = {}

    def build(depth: int, neighbours: frozenset[str]) -> int:
        if depth == len(RING):
            return int(removes(number, neighbours))
        asked = _ORDER[depth]
        absent, present = build(depth + 1, neighbours), build(depth + 1, neighbours | {RING[asked]})
        return absent if absent == present else nodes.setdefault((asked, absent, present), len(nodes) + 2)

    build(0, frozenset())
    return list(nodes)


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
