"""All that an audit wants to know of a pair, found by reading both files once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import PIL

from pisam.core.errors import PisamError
from pisam.data.audit import fingerprints
from pisam.data.audit.cache import remembered
from pisam.data.audit.fingerprints import content_hash, look_hash
from pisam.data.reading import image_files, targets
from pisam.data.reading import reader as reading
from pisam.data.reading.reader import binarise, check_sizes, read_image
from pisam.data.reading.targets import target_coverage
from pisam.data.sources import coco
from pisam.data.sources.pairs import Pair
from pisam.data.sources.rows import Source

# Darker and lighter coverage than this is neither background nor object.
_SOFT = (17, 238)


class PairFacts(NamedTuple):
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


def facts_of(source: Source, pairs: Sequence[Pair]) -> list[PairFacts]:
    """The facts of the pairs of a source, in their order; only new and changed files are read.

    What cannot be read is not remembered: permissions are mended without a new modification time.
    """
    found = remembered("audit", source, pairs, examine, rules=_rules(), keep=lambda facts: not facts[0])
    return [PairFacts(*facts) for facts in found]


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


def _rules() -> str:
    """Changes whenever the same files might be read differently."""
    modules = (coco, fingerprints, image_files, reading, targets)
    files = [Path(__file__), *(Path(str(module.__file__)) for module in modules)]
    versions = f"{PIL.__version__} {np.__version__} {cv2.__version__}"
    code = b"".join(file.read_bytes() for file in files)
    return content_hash(code + versions.encode())
