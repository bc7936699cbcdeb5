"""All that an audit wants to know of a pair, found by reading both files once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
from tqdm import tqdm

from pisam.data.fingerprints import content_hash, look_hash
from pisam.data.pairs import Pair
from pisam.data.reading import binarise, check_sizes, read_image
from pisam.data.targets import target_coverage
from pisam.errors import PisamError

# Darker and lighter coverage than this is neither background nor object.
_SOFT = (17, 238)


@dataclass(frozen=True)
class PairFacts:
    """What reading a pair showed.

    Attributes:
        problem: why the pair cannot be used, empty if it can; then nothing else is known.
        width, height: upright, in pixels.
        share: of the pixels that are object, in [0, 1].
        soft: share of the object's pixels, edges included, that are neither black nor white.
        content: hash of the image file's bytes.
        look: perceptual hash of the image in hexadecimal, empty for an image of one shade.
    """

    problem: str = ""
    width: int = 0
    height: int = 0
    share: float = 0.0
    soft: float = 0.0
    content: str = ""
    look: str = ""


def examine(pair: Pair) -> PairFacts:
    """Read both files of a pair; whatever goes wrong becomes its `problem`."""
    try:
        image, coverage = read_image(pair.image), target_coverage(pair)
        check_sizes(pair.image, image.shape, pair.mask, coverage.shape)
        mask = binarise(coverage, pair.mask)
        touched = int((coverage >= _SOFT[0]).sum())
        soft = int(((coverage >= _SOFT[0]) & (coverage <= _SOFT[1])).sum())
        look = look_hash(image)
        return PairFacts(
            width=image.shape[1],
            height=image.shape[0],
            share=float(mask.mean()),
            soft=soft / touched,
            content=content_hash(pair.image.read_bytes()),
            look="" if look is None else f"{look:016x}",
        )
    except PisamError as error:
        return PairFacts(problem=str(error))
    except Exception as error:
        # One file must not end the audit of thousands, whatever it contains.
        return PairFacts(
            problem=f"{pair.image} or {pair.mask}: {type(error).__name__}: {error}; expected a readable "
            "pair; replace one"
        )


def examine_all(pairs: Sequence[Pair], progress: str) -> list[PairFacts]:
    """The facts of many pairs, several read at a time, `progress` beside the bar on a terminal.

    Threads are as fast as processes here, for decoding runs outside of Python's lock.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(_workers()) as pool:
            return list(tqdm(pool.map(examine, pairs), progress, len(pairs), unit="pair", disable=None))
    finally:
        cv2.setNumThreads(threads)


def _workers() -> int:
    # A pair of 24 megapixels takes some 200 MB while it is read.
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, available)
