"""The pictures of a page: small photographs and masks, and error regions to be laid over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pisam.core.drawing import REGION_COLOURS, error_regions, fitted, shrunk_regions
from pisam.core.types import BoolArray
from pisam.report.examples import TIMES, Files, read_example

LONGEST = 1024  # pixels of the longer side; what is larger is shown smaller
OPACITY = (0, 120, 215, 215)  # of the regions of `error_regions`
QUALITY = 85


def write_pictures(files: Files, folder: Path) -> None:
    """Write the pictures of an example into a new folder.

    They are `photo.jpg`, `mask.png`, and for model k, counted from 0, the regions `k-before.png` and
    `k-after.png` with a transparent background.

    Raises:
        PisamError: see `read_example`.
    """
    example = read_example(files)
    folder.mkdir(parents=True)
    height, width = example.mask.shape
    size = fitted(width, height, LONGEST)
    photo = Image.fromarray(example.photo).resize(size, Image.Resampling.LANCZOS)
    photo.save(folder / "photo.jpg", quality=QUALITY, optimize=True)
    mask = Image.fromarray(example.mask * np.uint8(255)).resize(size, Image.Resampling.BOX)
    mask.quantize(16).save(folder / "mask.png")
    for number, answer in enumerate(example.answers.values()):
        for when in TIMES:
            _save_regions(getattr(answer, when), example.mask, size, folder / f"{number}-{when}.png")


def _save_regions(answer: BoolArray, mask: BoolArray, size: tuple[int, int], path: Path) -> None:
    """Four colours take two bits a pixel: a few ten KB, where RGBA takes several hundred."""
    picture = Image.fromarray(shrunk_regions(error_regions(answer, mask), size)).convert("P")
    picture.putpalette([level for colour in REGION_COLOURS for level in colour])
    picture.save(path, bits=2, transparency=bytes(OPACITY))
