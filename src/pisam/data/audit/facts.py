"""Facts of a pair that an audit needs, found by reading both files once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import PIL

from pisam.core.errors import PisamError
from pisam.data.audit import duplicates
from pisam.data.audit.cache import remembered
from pisam.data.audit.duplicates import content_hash, look_hash
from pisam.data.reading import channels, image_files, reader, targets, values, wide
from pisam.data.reading.targets import read_pair
from pisam.data.reading.values import OBJECT_ABOVE, histogram
from pisam.data.sources import coco, segmentation
from pisam.data.sources.pairs import Pair
from pisam.data.sources.rows import Source

SOFT = (17, 238)  # darker and lighter coverage is background and object
FEW_SHADES = 3


class PairFacts(NamedTuple):
    """Facts that reading a pair shows."""

    problem: str = ""  # why the pair cannot be used, empty if it can; then nothing else is known
    # width, height: upright, in pixels
    width: int = 0
    height: int = 0
    share: float = 0.0  # of the pixels that are object, in [0, 1]
    soft: float = 0.0  # share of the object's pixels, edges included, that are neither black nor white
    blank: int = 0  # annotations without a pixel in the frame
    # the values between black and white, where they are so few that they look chosen
    shades: Sequence[int] = ()
    coloured: bool = False  # those are of colours, not of greys
    content: str = ""  # hash of the image file's bytes
    look: str = ""  # perceptual hash of the image in hexadecimal, empty for an image of one shade
    truth: str = ""  # hash of the mask file's bytes, or of the image's annotations


def facts_of(source: Source, pairs: Sequence[Pair]) -> list[PairFacts]:
    """The facts of the pairs of a source, in their order; only new and changed files are read.

    What cannot be read is not remembered: permissions are mended without a new modification time.
    """
    found = remembered(
        "audit", source, pairs, examine, rules=reading_rules(), keep=lambda facts: not facts[0]
    )
    return [PairFacts(*facts) for facts in found]


def examine(pair: Pair) -> PairFacts:
    """Read both files of a pair; whatever goes wrong becomes its `problem`."""
    try:
        image, (coverage, _) = read_pair(pair)
        counts = histogram(coverage)
        between = counts[SOFT[0] : SOFT[1] + 1]
        shades = (np.flatnonzero(between) + SOFT[0]).tolist()
        shades = shades if len(shades) <= FEW_SHADES else []
        look = look_hash(image)
        return PairFacts(
            width=image.shape[1],
            height=image.shape[0],
            share=float((coverage > OBJECT_ABOVE).mean()),
            soft=float(between.sum() / counts[SOFT[0] :].sum()),
            blank=0 if pair.shapes is None else sum(area == 0 for area in pair.shapes.areas().values()),
            shades=shades,
            coloured=bool(shades) and _has_colours(pair.mask),
            content=content_hash(pair.image.read_bytes()),
            look="" if look is None else f"{look:016x}",
            truth=content_hash(
                pair.mask.read_bytes()
                if pair.shapes is None
                else json.dumps(sorted(pair.shapes.codes.items())).encode()
            ),
        )
    except PisamError as error:
        return PairFacts(problem=str(error))
    except Exception as error:
        # One file must not end the audit of thousands, whatever it contains.
        return PairFacts(
            problem=f"{pair.image} or {pair.mask}: {type(error).__name__}: {error}; expected a readable "
            "pair; replace one"
        )


def _has_colours(mask: Path) -> bool:
    """True for a picture whose channels differ somewhere."""
    pixels = np.asarray(image_files.load_picture(mask).image.convert("RGB"))
    return bool((pixels != pixels[..., :1]).any())


def reading_rules() -> str:
    """Changes whenever the same files might be read differently."""
    modules = (channels, coco, duplicates, image_files, reader, segmentation, targets, values, wide)
    files = [Path(__file__), *(Path(str(module.__file__)) for module in modules)]
    versions = f"{PIL.__version__} {np.__version__} {cv2.__version__}"
    code = b"".join(file.read_bytes() for file in files)
    return content_hash(code + versions.encode())
