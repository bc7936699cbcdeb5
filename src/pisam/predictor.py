"""Interactive use: an image, a box, then clicks, each answered with a mask of the image's own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pisam.core.types import BoolArray, Clicks, ObjectFeatures, UInt8Array
from pisam.data.transforms import frame_for_validation
from pisam.metrics.protocol import Protocol, logits_to_original
from pisam.modeling.pisam import PiSam


@dataclass
class _Image:
    """An encoded image: its frame, what the image encoder says of it, its original size."""

    frame: Tensor  # uint8 (1, 3, S, S)
    colours: Tensor
    embedding: Tensor
    early: Tensor
    height: int
    width: int


class PiSamPredictor:
    """Segments one object at a time in images of any size.

    The image goes through the encoder once, in `set_image`; a box costs the decoder, a click the interactor.
    Points and boxes are (x, y) in pixels of the original image, pixel centres at +0.5. Sizes and thresholds
    are those of the evaluation, so a mask is the one that would be scored.

    Args:
        model: the network, used on the device it is on and put into evaluation mode.
    """

    def __init__(self, model: PiSam) -> None:
        self.model = model.eval()
        self._image: _Image | None = None
        self._objects: ObjectFeatures | None = None
        self._clicks: list[tuple[float, float, int]] = []
        self._answers: list[Tensor] = []  # logits (1, 1, S, S): after the box, then after each click

    @torch.no_grad()
    def set_image(self, image: UInt8Array) -> None:
        """Encode an image; the box and clicks of an earlier one are forgotten.

        Args:
            image: uint8 (H, W, 3) RGB.

        Raises:
            ValueError: another type or shape.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"image: expected uint8 (H, W, 3) RGB, got {image.dtype} {image.shape}")
        height, width = image.shape[:2]
        # Validation's own rule makes the frame; it wants a mask, which an image in use does not have.
        framed = frame_for_validation(image, np.ones((height, width), dtype=bool), self.model.image_size)
        frame = torch.from_numpy(framed.image).permute(2, 0, 1).unsqueeze(0).to(self._device)
        embedding, early = self.model.encoder.image_encoder(self.model.normalise(frame))
        self._image = _Image(frame, self.model.colours(frame), embedding, early, height, width)
        self.reset()

    @torch.no_grad()
    def set_box(self, box: Sequence[float] | npt.NDArray[np.number]) -> BoolArray:
        """The straight-forward mask of the object in a box; clicks on an earlier object are forgotten.

        Args:
            box: x0, y0, x1, y1, edges in pixels of the image.

        Returns:
            bool (H, W).

        Raises:
            ValueError: no image yet, or not a box with an area inside the image.
        """
        image = self._need_image()
        edges = np.asarray(box, dtype=np.float64)
        right, bottom = image.width, image.height
        fits = edges.shape == (4,) and np.all(edges >= 0) and np.all(edges <= [right, bottom, right, bottom])
        if not fits or np.any(edges[:2] >= edges[2:]):
            raise ValueError(f"box: expected 0 <= x0 < x1 <= {right} and 0 <= y0 < y1 <= {bottom}, got {box}")
        self.reset()
        prompt = (edges * np.tile(self._scale(image), 2)).astype(np.float32)
        features = self.model.encoder.prompt(
            image.embedding, image.early, torch.from_numpy(prompt).unsqueeze(0).to(self._device)
        )
        self._objects, prediction = self.model.decoder(features, self.model.normalise(image.frame))
        self._answers.append(prediction.high_res)
        return self.mask

    @torch.no_grad()
    def click(self, x: float, y: float, foreground: bool = True) -> BoolArray:
        """The mask after one more click.

        Args:
            x: from the left, in pixels of the image.
            y: from the top.
            foreground: True where the object was missed, False where something else was taken for it.

        Returns:
            bool (H, W).

        Raises:
            ValueError: no box yet, or a point outside of the image.
        """
        image = self._need_image()
        if self._objects is None:
            raise ValueError("click: expected a box first; call set_box")
        if not (0 <= x <= image.width and 0 <= y <= image.height):
            raise ValueError(
                f"click: expected 0 <= x <= {image.width} and 0 <= y <= {image.height}, got ({x}, {y})"
            )
        clicks = [*self._clicks, (x, y, int(foreground))]
        given = self._in_frame(clicks, image)
        answer = self.model.interact(self._objects, image.frame, given, image.colours)
        self._clicks = clicks
        self._answers.append(answer)
        return self.mask

    def undo(self) -> BoolArray:
        """The mask before the last click, which is forgotten.

        Raises:
            ValueError: there is no click.
        """
        if not self._clicks:
            raise ValueError("undo: there is no click to take back")
        self._clicks.pop()
        self._answers.pop()
        return self.mask

    def reset(self) -> None:
        """Forget the box and all clicks, keep the image."""
        self._objects = None
        self._clicks = []
        self._answers = []

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """float32 (H, W): the current logits at the image's size, positive = object.

        Raises:
            ValueError: no box yet.
        """
        image = self._need_image()
        if not self._answers:
            raise ValueError("logits: expected a box first; call set_box")
        logits: npt.NDArray[np.float32] = (
            logits_to_original(self._answers[-1], (image.height, image.width))[0, 0].cpu().numpy()
        )
        return logits

    @property
    def soft_mask(self) -> npt.NDArray[np.float32]:
        """float32 (H, W) in [0, 1]: how sure the network is of each pixel; errors as in `logits`."""
        return torch.from_numpy(self.logits).sigmoid().numpy()

    @property
    def mask(self) -> BoolArray:
        """bool (H, W): the current mask; errors as in `logits`."""
        mask: BoolArray = self.logits > Protocol.threshold
        return mask

    @property
    def _device(self) -> torch.device:
        return self.model.pixel_mean.device

    def _need_image(self) -> _Image:
        if self._image is None:
            raise ValueError("expected an image first; call set_image")
        return self._image

    def _scale(self, image: _Image) -> npt.NDArray[np.float64]:
        """Frame pixels per image pixel, along x and y: the image was squashed into the square frame."""
        return self.model.image_size / np.array([image.width, image.height])

    def _in_frame(self, clicks: list[tuple[float, float, int]], image: _Image) -> Clicks:
        points = np.array([click[:2] for click in clicks]) * self._scale(image)
        return Clicks(
            points=torch.from_numpy(points.astype(np.float32)).unsqueeze(0),
            labels=torch.tensor([[label for _, _, label in clicks]]),
            valid=torch.ones(1, len(clicks), dtype=torch.bool),
        ).to(self._device)
