"""The interface of a session's model: NumPy in, NumPy out, whatever computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from pisam.core.types import Click, FloatArray, UInt8Array

Size = tuple[int, int]


@dataclass(frozen=True)
class Prompt:
    """A prompt for one object, in pixels of the square frame."""

    box: FloatArray | None = None  # float32 (4,), xyxy edges; None for none
    points: tuple[Click, ...] = ()  # on the object (label 1) and beside it
    mask: FloatArray | None = None  # float32 (F, F), logits of a rough mask; None for none

    @property
    def only_box(self) -> bool:
        """True of a box with neither points nor a mask."""
        return self.box is not None and not self.points and self.mask is None


class Engine(Protocol):
    """A model that answers prompts and then clicks. What it calls an encoding or a state is its own affair.

    Attributes:
        side: S of the square frame, in pixels.
    """

    @property
    def side(self) -> int: ...

    @property
    def remembers(self) -> bool:
        """True where an answer to clicks depends on the answers before it, too; else on the clicks alone."""

    def encode(self, frame: UInt8Array) -> Any:
        """The encoding of an image, uint8 (S, S, 3) RGB, squashed into the frame."""

    def first(self, encoded: Any, prompts: Sequence[Prompt]) -> list[Any]:
        """The state after each of several prompts on one image."""

    def after(self, state: Any, clicks: Sequence[Click]) -> Any:
        """The state after all clicks so far, in pixels of the frame.

        Args:
            state: that was clicked on.
            clicks: at least one, in the order of clicking; those made on earlier states included.
        """

    def logits(self, state: Any, size: Size) -> FloatArray:
        """float32 (H, W): the state's logits at the image's `size` (H, W), bilinear between pixel centres."""

    def identity(self) -> str:
        """An identity of its encodings, which are kept in files."""

    def model_identity(self) -> str:
        """An identity of all that its answers depend on."""

    def to_arrays(self, encoded: Any) -> dict[str, npt.NDArray[Any]]:
        """An encoding as arrays, to be kept in a file; the frame is kept beside them."""

    def from_arrays(self, arrays: Mapping[str, npt.NDArray[Any]], frame: UInt8Array) -> Any:
        """The encoding that `to_arrays` gave.

        Raises:
            KeyError, ValueError: an array is missing or of another shape.
        """
