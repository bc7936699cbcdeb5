"""The pixels that a pass of thinning removes, by their eight neighbours; as a decision diagram for whole
words."""

from __future__ import annotations

from functools import lru_cache

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
