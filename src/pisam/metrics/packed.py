"""Binary masks with 64 pixels in a machine word: erosions, counts, and scikit-image's skeleton on them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import cycle

import cv2
import numpy as np

BITS = 64


def pack(mask: np.ndarray) -> np.ndarray:
    """Words of a mask: pixel (y, x) is bit x % 64 of word (y, x // 64); bits beyond the last column are 0.

    Args:
        mask: bool (H, W).

    Returns:
        uint64 (H, ceil(W / 64)).
    """
    height, width = mask.shape
    words = np.zeros((height, -(-width // BITS)), "<u8")
    octets = np.packbits(mask, axis=1, bitorder="little")
    words.view(np.uint8)[:, : octets.shape[1]] = octets
    return words


def unpack(words: np.ndarray, width: int) -> np.ndarray:
    """The mask, bool (H, width), of contiguous words uint64 (H, ceil(width / 64))."""
    return np.unpackbits(words.view(np.uint8), axis=1, count=width, bitorder="little").view(bool)


def count(words: np.ndarray) -> int:
    """Number of object pixels of contiguous words."""
    return int(cv2.norm(words.view(np.uint8), cv2.NORM_HAMMING))


def erode_box(words: np.ndarray, distance: int) -> np.ndarray:
    """Erosion by a square of side 2 * distance + 1; outside the image nothing is object.

    Args:
        words: uint64 (H, N), bits beyond the last column 0.
        distance: pixels, at least 1.

    Returns:
        uint64 (H, N).
    """
    window = 2 * distance + 1
    rows = np.pad(words, ((distance, distance), (0, 0)))
    for step in _steps(window):
        rows = rows[:-step] & rows[step:]
    for step in _steps(window):
        rows = rows & _shifted(rows, step)
    # Each pixel now holds the AND over itself and what follows it: bring that to the middle of its window.
    return _shifted(rows, -distance)


def _steps(window: int) -> Iterator[int]:
    """Shifts that, each followed by an AND, build a window from windows of half its length."""
    covered = 1
    while covered < window:
        step = min(covered, window - covered)
        yield step
        covered += step


def _shifted(words: np.ndarray, columns: int) -> np.ndarray:
    """The mask whose pixel x is pixel x + columns of the given one, 0 where that lies outside."""
    whole, bits = divmod(abs(columns), BITS)
    result = np.zeros_like(words)
    length = words.shape[1] - whole
    if length <= 0:
        return result
    near, far = np.uint64(bits), np.uint64(BITS - bits)
    if columns >= 0:
        result[:, :length] = words[:, whole:] >> near
        if bits:
            result[:, : length - 1] |= words[:, whole + 1 :] << far
    else:
        result[:, whole:] = words[:, :length] << near
        if bits:
            result[:, whole + 1 :] |= words[:, : length - 1] >> far
    return result


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
    """True where pass 1 or 2 removes a pixel with these neighbours of `RING` in the object."""
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
