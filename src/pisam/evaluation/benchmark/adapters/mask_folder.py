"""Masks that another program has saved, one a click, as an entrant of the benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pisam.core.errors import PisamError
from pisam.core.files import sha256_of_files
from pisam.core.types import UInt8Array
from pisam.data.reading.reader import read_given
from pisam.evaluation.benchmark.entrant import Box, Clicks, WrongAnswer


class MaskFolder:
    """`masks:DIR`: `DIR/SET/IMAGE/K.png` is the mask after K clicks (01.png as well), 0.png that of the box.

    Each is read as any mask is, 0/1 or 0/255, and may be empty. The program must click by the same rule; then
    its clicks are the recorded ones.

    Args:
        folder: DIR.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self.facts = {"kind": "folder of masks", "sha256": sha256_of_files(folder, "*/*/*.png")}
        self.answers_controls = False  # it holds no answers to other clicks
        self.files: dict[int, Path] = {}

    def begin(self, set_name: str, image: str) -> None:
        """Find the masks of an image.

        Raises:
            WrongAnswer: two of them are of one number.
        """
        here = self.folder / set_name / image
        self.files = {}
        for file in sorted(here.glob("*.png")):
            if file.stem.isdecimal() and (first := self.files.setdefault(int(file.stem), file)) != file:
                raise WrongAnswer(f"has two masks of one number, {first.name} and {file.name}")

    def encode(self, image: UInt8Array) -> None:
        """Nothing to look at."""

    def answer(self, prompt: Box | None, clicks: Clicks, previous: object) -> np.ndarray:
        """The mask after so many clicks.

        Raises:
            WrongAnswer: there is none, or none that can be read.
        """
        file = self.files.get(len(clicks))
        if file is None:
            raise WrongAnswer(f"has no mask {len(clicks)}.png")
        try:
            return np.where(read_given(file), np.float32(1), np.float32(-1))
        except PisamError as error:
            raise WrongAnswer(str(error).replace(str(file), file.name)) from error
