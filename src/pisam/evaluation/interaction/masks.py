"""The masks before and after the clicks of a benchmark, as files: what figures and reports show."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from pisam.core.files import replacing

When = Literal["before", "after"]


def mask_path(folder: Path, model: str, when: When, set_name: str, image: str) -> Path:
    """The path of a mask below a benchmark's folder; MODEL/WHEN/SET reads as a folder of predictions."""
    return folder / model / when / set_name / f"{image}.png"


def save_mask(
    folder: Path, model: str, when: When, set_name: str, image: str, mask: npt.NDArray[np.bool_]
) -> None:
    """Write a mask bool (H, W) at its own size, whole or not at all.

    One bit a pixel: of a 4K image about 100 KB, in a small share of the time that scoring it takes.
    """
    with replacing(mask_path(folder, model, when, set_name, image)) as temporary:
        Image.fromarray(mask).save(temporary, format="PNG", compress_level=3)
