"""The verbs of a predictor, whatever computes its answers; without torch."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from numbers import Integral
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pisam.core.files import is_possible_path
from pisam.core.types import BoolArray, Click, FloatArray, UInt8Array
from pisam.data.transforms import squash
from pisam.predictor.detail import SMALLEST_TILE, look_again
from pisam.predictor.engine import Engine, Prompt
from pisam.predictor.images import Picture, as_mask, as_rgb, box_of
from pisam.predictor.prompts import Box, Points, box_in_frame, click_on, points_on
from pisam.predictor.session import (
    Answer,
    SeenImage,
    Session,
    given_logits,
    low_resolution,
    read_seen,
    write_seen,
)


class InteractivePredictor:
    """Segments objects of images of any size, one at a time or several boxes at once.

    The image is encoded once, in `set_image` or `load`; a prompt costs the decoder. Points and boxes are
    (x, y) in pixels of the original image, pixel centres at +0.5. Sizes and thresholds are those of the
    evaluation, so a mask is the one that would be scored.

    Args:
        engine: the model.
        guarantee: whether each clicked pixel has its label after `click`, whatever the model says.
    """

    def __init__(self, engine: Engine, *, guarantee: bool = True) -> None:
        self.engine = engine
        self._session = Session(engine, guarantee)
        self._shown: tuple[Answer, FloatArray] | None = None
        self._pixels: UInt8Array | None = None  # of the image, for `detailed`

    def set_image(self, image: Picture) -> None:
        """Encode an image; the prompt and clicks of an earlier one are forgotten.

        Args:
            image: uint8 (H, W, 3) RGB, or another kind that `images.as_rgb` takes: grey, RGBA, 16-bit, a
                picture of Pillow, a path.

        Raises:
            ValueError: another type or shape, or an unreadable file.
        """
        pixels = as_rgb(image)
        self._session.see(squash(pixels, self.engine.side), (pixels.shape[0], pixels.shape[1]))
        self._pixels = pixels

    def set_box(self, box: Box) -> BoolArray:
        """The straight-forward mask of the object in a box; clicks on an earlier object are forgotten.

        Args:
            box: x0, y0, x1, y1, edges in pixels of the image.

        Returns:
            bool (H, W).

        Raises:
            ValueError: no image yet, or not a box with an area inside the image.
        """
        return self._begin(Prompt(box=box_in_frame(box, self._need_image())))

    def set_points(
        self,
        points: Points,
        labels: Sequence[int] | npt.NDArray[np.number] | None = None,
        *,
        box: Box | None = None,
    ) -> BoolArray:
        """The mask of the object at some points, and in a box if one is given.

        Points are part of the prompt, as the box is: SAM is told them, and `undo` keeps them.

        Args:
            points: (N, 2), x and y in pixels of the image, at least one.
            labels: N, 1 = on the object, 0 = beside it; None = all on it.
            box: as in `set_box`.

        Returns:
            bool (H, W).

        Raises:
            ValueError: no image yet; points outside of it, other labels, or neither a box nor a point on the
                object.
        """
        image = self._need_image()
        clicks = points_on(points, labels, image, boxed=box is not None)
        edges = None if box is None else box_in_frame(box, image)
        return self._begin(Prompt(box=edges, points=tuple(image.in_frame(clicks))))

    def set_mask(self, mask: Picture, *, box: Box | None = None) -> BoolArray:
        """Start from a given mask, of any origin, to be repaired by clicks.

        What no click touches stays as it is, to the pixel: a click changes the connected region under it that
        the model would change too, and the pixels near it that are like it.

        Args:
            mask: bool, whole numbers or float in [0, 1], (H, W), a picture or a path, see `images.as_mask`;
                at the image's size, or at another one, from which it is resized.
            box: of the object; None = that of the mask.

        Returns:
            bool (H, W), the given mask.

        Raises:
            ValueError: no image yet, a mask of another kind, or values that may mean two things.
        """
        image = self._need_image()
        given = given_logits(as_mask(mask, image.size))
        edges = box_of(given > 0) if box is None else box
        prompt = Prompt(
            box=None if edges is None else box_in_frame(edges, image),
            mask=low_resolution(given, self.engine.side // 4),
        )
        return self._begin(prompt, given)

    def masks_of(self, boxes: Sequence[Box] | npt.NDArray[np.number]) -> BoolArray:
        """The straight-forward masks of several boxes, decoded together; a prompt that was set stays.

        Args:
            boxes: (N, 4), each as in `set_box`.

        Returns:
            bool (N, H, W).

        Raises:
            ValueError: no image yet, or a box as in `set_box`.
        """
        image = self._need_image()
        try:
            given = list(boxes)
        except TypeError as error:
            raise ValueError(f"boxes: expected (N, 4), got {boxes!r:.40}") from error
        if not given:
            return np.zeros((0, *image.size), bool)
        answers = self._session.ask([Prompt(box=box_in_frame(box, image)) for box in given])
        return np.stack([answer.mask() for answer in answers])

    def another(self) -> InteractivePredictor:
        """A predictor for another object of the same image, which is not encoded again."""
        other = copy(self)
        other._session = Session(self.engine, self._session.guarantee, self._session.image)
        other._shown = None
        return other

    def click(self, x: float, y: float, foreground: bool = True) -> BoolArray:
        """The mask after one more click.

        Args:
            x: from the left, in pixels of the image.
            y: from the top.
            foreground: True where the object was missed, False where something else was taken for it.

        Returns:
            bool (H, W), in which the clicked pixel has its label.

        Raises:
            ValueError: no prompt yet, or a point outside of the image.
        """
        image = self._need_image()
        self._need_answer("click")
        self._session.click(*click_on((x, y), foreground, image, "click"))
        return self.mask

    def detailed(self, *, tile: int | None = None) -> BoolArray:
        """The current mask, seen again at full resolution around the object: see `detail.look_again`.

        Each window costs an encoding. The session stays as it is; clicks are obeyed here too.

        Args:
            tile: side of the windows in pixels of the image, e.g. that of the frame; None = one window
                around the object and the clicks.

        Returns:
            bool (H, W).

        Raises:
            ValueError: no prompt yet, a given mask, an image that was loaded without its pixels, or another
                tile.
        """
        image, answer = self._need_image(), self._need_answer("detailed")
        if self._pixels is None or self._pixels.shape[:2] != image.size:
            raise ValueError("detailed: the pixels of a loaded image are not kept; call set_image")
        if answer.given is not None:
            raise ValueError("detailed: a given mask is repaired at its own size already")
        if tile is not None and (not isinstance(tile, Integral) or tile < SMALLEST_TILE):
            raise ValueError(f"detailed: tile: expected {SMALLEST_TILE} pixels or more, got {tile!r:.40}")
        # Larger ones than the image are as the image.
        side = None if tile is None else min(int(tile), max(image.size))
        logits = look_again(self.engine, self._pixels, answer.network(), answer.clicks, side)
        mask: BoolArray = answer.obeying(logits) > 0
        return mask

    def undo(self) -> BoolArray:
        """The mask before the last click, which is taken back.

        Raises:
            ValueError: there is no click.
        """
        if not self._session.undo():
            raise ValueError("undo: there is no click to take back")
        return self.mask

    def redo(self) -> BoolArray:
        """The mask after the click that was taken back last, which is made again.

        Raises:
            ValueError: none was taken back since the last click.
        """
        if not self._session.redo():
            raise ValueError("redo: there is no click to make again")
        return self.mask

    def reset(self) -> None:
        """Forget the prompt and all clicks, keep the image."""
        self._session.forget()

    @property
    def clicks(self) -> list[Click]:
        """(x, y, label) of all clicks that stand, in the order of clicking."""
        return list(self._session.answer.clicks) if self._session.answers else []

    @property
    def history(self) -> tuple[int, int]:
        """Numbers of answers, that to the prompt included, and of clicks that can be made again."""
        return len(self._session.answers), len(self._session.undone)

    @property
    def repairs(self) -> bool:
        """True while the answer is to a mask that was given."""
        answers = self._session.answers
        return bool(answers) and answers[0].given is not None

    def keep_last(self, answers: int) -> None:
        """Forget all but the last answers, and as many undone ones, so that memory stays bounded."""
        del self._session.answers[:-answers]
        del self._session.undone[:-answers]

    def forget_pixels(self) -> None:
        """Forget the image's pixels, which `detailed` needs, and its logits, which are worked out again."""
        self._pixels = self._shown = None

    @property
    def logits(self) -> FloatArray:
        """float32 (H, W): the current logits at the image's size, positive = object.

        Raises:
            ValueError: no prompt yet.
        """
        self._need_image()
        answer = self._need_answer("logits")
        if self._shown is None or self._shown[0] is not answer:
            self._shown = answer, answer.logits()
        return self._shown[1].copy()

    @property
    def soft_mask(self) -> FloatArray:
        """float32 (H, W) in [0, 1]: how sure the model is of each pixel; errors as in `logits`."""
        soft: FloatArray = (1 / (1 + np.exp(-np.clip(self.logits, -80, 80)))).astype(np.float32)
        return soft

    @property
    def mask(self) -> BoolArray:
        """bool (H, W): the current mask; errors as in `logits`."""
        mask: BoolArray = self.logits > 0
        return mask

    def save(self, path: str | Path) -> None:
        """Keep the encoded image in a file, whole or not at all, to be loaded where it is wanted again.

        Raises:
            ValueError: no image yet.
            PisamError: the file cannot be written.
        """
        write_seen(self._need_image(), self.engine, _path(path))

    def load(self, path: str | Path) -> None:
        """Take an image that `save` kept, in place of `set_image`; nothing in the file is executed.

        Raises:
            ValueError: no such file, or of another model.
        """
        self._session.image, self._pixels = read_seen(_path(path), self.engine), None
        self.reset()

    def _begin(self, prompt: Prompt, given: FloatArray | None = None) -> BoolArray:
        self._session.begin(self._session.ask([prompt], given)[0])
        return self.mask

    def _need_image(self) -> SeenImage:
        if self._session.image is None:
            raise ValueError("expected an image first; call set_image")
        return self._session.image

    def _need_answer(self, what: str) -> Answer:
        if not self._session.answers:
            raise ValueError(f"{what}: expected a box first; call set_box")
        return self._session.answer


def _path(path: str | Path) -> Path:
    if not isinstance(path, str | Path) or not Path(path).name or not is_possible_path(str(path)):
        raise ValueError(f"path: expected a file, got {path!r:.80}")
    return Path(path).expanduser()
