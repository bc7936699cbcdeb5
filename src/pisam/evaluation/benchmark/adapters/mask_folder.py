"""Masks that another program has saved, one a click, as an entrant of the benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pisam.core.errors import PisamError
from pisam.core.types import UInt8Array
from pisam.evaluation.benchmark.entrant import Box, Clicks, WrongAnswer

LARGEST = 200_000_000  # pixels


class MaskFolder:
    """`masks:DIR`: `DIR/SET/IMAGE/K.png` is the mask after K clicks (01.png as well), 0.png that of the box.

    Grey above 127 is object. The program must click by the same rule; then its clicks are the recorded ones.

    Args:
        folder: DIR.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise PisamError(f"masks:{folder}: no such folder")
        self.folder, self.name, self.facts = folder, folder.name, {"kind": "folder of masks"}
        self.answers_controls = False  # it holds no answers to other clicks
        self.files: dict[int, Path] = {}

    def begin(self, set_name: str, image: str) -> None:
        """Find the masks of an image."""
        here = self.folder / set_name / image
        self.files = {int(file.stem): file for file in here.glob("*.png") if file.stem.isdecimal()}

    def encode(self, image: UInt8Array) -> None:
        """Nothing to look at."""

    def answer(self, prompt: Box | None, clicks: Clicks, previous: object) -> np.ndarray:
        """The mask after so many clicks."""
        file = self.files.get(len(clicks))
        if file is None:
            raise WrongAnswer(f"has no mask {len(clicks)}.png")
        try:
            with Image.open(file) as mask:
                if mask.width * mask.height > LARGEST:
                    raise WrongAnswer(f"{file.name} has {mask.width} x {mask.height} pixels")
                levels = np.asarray(mask.convert("L"))
        except (OSError, Image.DecompressionBombError) as error:
            raise WrongAnswer(f"{file.name} is not readable: {error}") from error
        return levels.astype(np.float32) - 127.5
