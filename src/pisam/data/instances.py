"""Every object a sample of its own: components of a mask, ids of an instance mask, COCO annotations."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pisam.data.facts_cache import cache_folder
from pisam.data.fingerprints import content_hash
from pisam.data.pairs import Pair
from pisam.data.sources import Source
from pisam.data.targets import label_components, read_ids, read_mask
from pisam.errors import PisamError
from pisam.files import replacing

# Changes with the rules by which instances are found and named.
RULES = 1

Areas = dict[int, int]


def split_pairs(source: Source, pairs: Sequence[Pair], min_area: int) -> list[Pair]:
    """The pairs of a source, one per instance of at least `min_area` pixels, in the order of their names.

    An instance is called ID@NUMBER: the annotation's or the mask's own id, or the number of the component by
    its first pixel. Numbers do not depend on `min_area`. An image none of whose instances is large enough
    keeps its largest.

    Raises:
        PisamError: a mask cannot be read.
    """
    split = []
    for pair, areas in zip(pairs, _areas_of_all(source, pairs), strict=True):
        largest = max(areas.values(), default=0)
        split += [
            replace(pair, id=f"{pair.id}@{number}", instance=number)
            for number, area in sorted(areas.items())
            if area >= min(min_area, largest)
        ]
    return split


def _areas_of_all(source: Source, pairs: Sequence[Pair]) -> list[Areas]:
    """Area of each instance of each pair; masks are read once and remembered while they do not change."""
    folders = "\0".join(os.path.abspath(part) for part in (source.images, source.masks))
    file = cache_folder() / "instances" / f"{content_hash(os.fsencode(f'{folders}{source.ids}'))}.json"
    known = _load(file)
    stamps = [_stamp(pair) for pair in pairs]
    new = [pair for pair, stamp in zip(pairs, stamps, strict=True) if known.get(pair.id, [""])[0] != stamp]
    if new:
        with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
            name = f"instances of {source.name}"
            found = list(tqdm(pool.map(_areas, new), name, len(new), unit="mask", disable=None))
        known |= {pair.id: [_stamp(pair), areas] for pair, areas in zip(new, found, strict=True)}
        _save(known, file)
    return [{int(number): area for number, area in known[pair.id][1].items()} for pair in pairs]


def _areas(pair: Pair) -> Areas:
    if pair.shapes is not None:
        areas = {number: int(pair.shapes.mask(number).sum()) for number in pair.shapes.codes}
        return {number: area for number, area in areas.items() if area}
    labels = read_ids(pair.mask) if pair.ids else label_components(read_mask(pair.mask))
    numbers, counts = np.unique(labels, return_counts=True)
    return {int(number): int(count) for number, count in zip(numbers, counts, strict=True) if number > 0}


def _stamp(pair: Pair) -> str:
    stat = os.stat(pair.mask)
    return f"{RULES} {pair.mask.name} {stat.st_mtime_ns} {stat.st_size}"


def _load(file: Path) -> dict[str, list]:
    try:
        with open(file, encoding="utf-8") as opened:
            known = json.load(opened)
        return {id_: [str(stamp), dict(areas)] for id_, (stamp, areas) in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _save(known: dict[str, list], file: Path) -> None:
    try:
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(known), encoding="utf-8")
    except (OSError, PisamError):
        pass  # the masks are read again next time
