"""Every object a sample of its own: components of a mask, ids of an instance mask, COCO annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pisam.core.errors import PisamError
from pisam.data.audit.cache import remembered
from pisam.data.audit.facts import reading_rules
from pisam.data.reading.reader import read_mask
from pisam.data.reading.targets import component_areas, read_ids
from pisam.data.sources.pairs import Pair
from pisam.data.sources.rows import Source

# Changes with the rules by which instances are named.
RULES = "1"


def split_pairs(source: Source, pairs: Sequence[Pair], min_area: int) -> list[Pair]:
    """The pairs of a source, one per instance of at least `min_area` pixels, in the order of their names.

    An instance is called ID@NUMBER: the annotation's or the mask's own id, or the number of the component by
    its first pixel. Numbers do not depend on `min_area`. An image none of whose instances is large enough
    keeps its largest.

    Raises:
        PisamError: a mask cannot be read, or has no object.
    """
    split = []
    found = remembered("instances", source, pairs, _areas, rules=f"{RULES} {reading_rules()}")
    for pair, areas in zip(pairs, found, strict=True):
        largest = max(area for _, area in areas)
        split += [
            replace(pair, id=f"{pair.id}@{number}", instance=number)
            for number, area in areas
            if area >= min(min_area, largest)
        ]
    return split


def _areas(pair: Pair) -> list[tuple[int, int]]:
    """(number, pixels) of each instance, by number."""
    if pair.shapes is not None:
        areas = pair.shapes.areas()
    elif pair.ids:
        numbers, counts = np.unique(read_ids(pair.mask, pair.ignore), return_counts=True)
        areas = {n: count for n, count in zip(numbers.tolist(), counts.tolist(), strict=True) if n > 0}
    else:
        areas = component_areas(read_mask(pair.mask, pair.ignore))
    found = [(number, area) for number, area in sorted(areas.items()) if area]
    if not found:
        raise PisamError(
            f"{pair.mask}: no object for {pair.image}; expected one; mend it or take the pair out"
        )
    return found
