"""The common part of the adapters of SAM's kin in other packages: loading, names, and places in the frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pisam.core.errors import PisamError
from pisam.core.files import sha256_of_files
from pisam.core.types import FloatArray, UInt8Array
from pisam.evaluation.benchmark.entrant import Box, Clicks
from pisam.modeling.sam_network import PIXEL_MEAN, PIXEL_STD


class SamKin:
    """A SAM of another package: it sees an image in a frame, and is told points and boxes there.

    Args:
        folder: of its files, whose name is the model's.
        mask_input: give it its previous mask together with the clicks.
        facts: kept with its results, as is the hash of its files.

    Attributes:
        size: (H, W) of the image.
        inner: (height, width) that the image takes of the frame, from the upper left corner.
    """

    size: tuple[int, int]
    inner: tuple[int, int]

    def __init__(self, folder: Path, mask_input: bool, **facts: str) -> None:
        self.name, self.mask_input = folder.name + ("+mask" if mask_input else ""), mask_input
        self.facts: dict[str, Any] = {**facts, "mask_input": mask_input}
        self.facts["sha256"] = sha256_of_files(folder, "[!.]*")

    def in_frame(self, places: Clicks | Box) -> FloatArray:
        """Rows (x, y) of places in the image, in the frame: its prompt encoder adds the half of a centre."""
        scale = np.array([self.inner[1] / self.size[1], self.inner[0] / self.size[0]])
        return (np.reshape(places, (-1, 2)) * scale - 0.5).astype(np.float32)

    def padded(self, image: UInt8Array, side: int) -> FloatArray:
        """The frame (1, 3, S, S) as SAM's own: longest side scaled to S, normalised, zeros beyond."""
        height, width = image.shape[:2]
        scale = side / max(height, width)
        self.size, self.inner = (height, width), (int(height * scale + 0.5), int(width * scale + 0.5))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        frame = np.zeros((side, side, 3), np.float32)
        shown = cv2.resize(image, self.inner[::-1], interpolation=way)
        mean, std = (np.array(each, np.float32) for each in (PIXEL_MEAN, PIXEL_STD))
        frame[: self.inner[0], : self.inner[1]] = (shown - mean) / std
        return np.ascontiguousarray(frame.transpose(2, 0, 1)[None])

    def at_image_size(self, low: FloatArray, frame: tuple[int, int]) -> FloatArray:
        """Logits (H, W) from those of the frame (height, width) at fewer pixels, as SAM enlarges masks."""
        framed = cv2.resize(low, frame[::-1], interpolation=cv2.INTER_LINEAR)
        shown = np.ascontiguousarray(framed[: self.inner[0], : self.inner[1]])
        return cv2.resize(shown, self.size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Tell in one line what a package says of files that it cannot load, or that it is missing.

    Raises:
        PisamError: for any error within.
    """
    try:
        yield
    except PisamError:
        raise
    except ImportError as error:
        raise PisamError(f"{model} needs the package {error.name}: pip install {error.name}") from error
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise PisamError(f"{model}: not readable: {reason:.200}") from error
