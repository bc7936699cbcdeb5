"""A session: an image, kept as a file or not, a prompt, clicks that can be undone, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pisam.clicks.guarantee import obey
from pisam.core.files import replacing
from pisam.core.locality import regions_asked_for
from pisam.core.types import BoolArray, Click, FloatArray, UInt8Array
from pisam.data.prompts import MASK_LOGIT
from pisam.data.reading.image_files import MAX_PIXELS
from pisam.predictor.engine import Engine, Prompt, Size

BACKGROUND = -100.0  # a logit without any doubt
GIVEN_LOGIT = 8.0  # how sure a given mask is of its pixels


@dataclass(frozen=True)
class SeenImage:
    """An encoded image."""

    frame: UInt8Array  # uint8 (S, S, 3) RGB, the whole image squashed into the frame
    encoded: Any  # what the engine made of it
    size: Size  # (H, W) of the original

    @property
    def scale(self) -> npt.NDArray[np.float64]:
        """Frame pixels per image pixel, along x and y."""
        height, width = self.size
        return self.frame.shape[0] / np.array([width, height])

    def in_frame(self, clicks: Sequence[Click]) -> list[Click]:
        """Clicks in pixels of the original image, in pixels of the frame."""
        across, down = self.scale
        return [(x * across, y * down, label) for x, y, label in clicks]


@dataclass(frozen=True)
class Answer:
    """The answer to a prompt and some clicks; at the image's size it is worked out when it is asked for."""

    engine: Engine
    image: SeenImage
    state: Any
    clicks: tuple[Click, ...] = ()  # in pixels of the original image, in the order of clicking
    # float32 (H, W), logits of the mask to repair; None where the engine's own is repaired
    given: FloatArray | None = None
    guarantee: bool = True  # whether `logits` obey all clicks
    # bool (H, W), pixels that become background whatever is answered; None = nowhere
    ignored: BoolArray | None = None

    def after(self, clicks: Sequence[Click]) -> Answer:
        """The answer to all clicks so far, those made on this answer included; itself for none."""
        if not clicks:
            return self
        state = self.engine.after(self.state, self.image.in_frame(clicks))
        return replace(self, state=state, clicks=tuple(clicks))

    def network(self) -> FloatArray:
        """The network's logits, float32 (H, W), or the given ones changed where it was clicked."""
        if self.given is not None and not self.clicks:
            return self.given
        logits = self.engine.logits(self.state, self.image.size)
        if self.given is None:
            return logits
        return np.where(regions_asked_for(self.given, logits, self.clicks), logits, self.given)

    def logits(self) -> FloatArray:
        """float32 (H, W), positive = object."""
        return self.obeying(self.network())

    def obeying(self, logits: FloatArray) -> FloatArray:
        """The logits (H, W) with the guarantee, where there is one, and without what is ignored."""
        if self.guarantee:
            logits = obey(logits, self.image.frame, self.clicks)
        return logits if self.ignored is None else np.where(self.ignored, np.float32(BACKGROUND), logits)

    def mask(self) -> BoolArray:
        """bool (H, W)."""
        mask: BoolArray = self.logits() > 0
        return mask


@dataclass
class Session:
    """One object of an image, asked for and repaired; all in pixels of the original image."""

    engine: Engine
    guarantee: bool = True  # whether answers obey all clicks
    image: SeenImage | None = None
    # to the prompt, then after each click; empty before a prompt
    answers: list[Answer] = field(default_factory=list)
    # clicks taken back, with their answers, the last one first to come again
    undone: list[Answer] = field(default_factory=list)

    def see(self, frame: UInt8Array, size: Size) -> SeenImage:
        """Encode an image, uint8 (S, S, 3) RGB squashed into the frame; prompt and clicks are forgotten."""
        self.image = SeenImage(frame, self.engine.encode(frame), size)
        self.forget()
        return self.image

    def ask(self, prompts: Sequence[Prompt], given: FloatArray | None = None) -> list[Answer]:
        """The answer to each prompt, in pixels of the frame, on the image that is seen.

        Args:
            prompts: at least one.
            given: float32 (H, W), logits of the mask to repair.
        """
        assert self.image is not None
        states = self.engine.first(self.image.encoded, prompts)
        return [Answer(self.engine, self.image, state, (), given, self.guarantee) for state in states]

    def begin(self, first: Answer) -> None:
        """Start to click on an answer to a prompt."""
        self.image, self.answers, self.undone = first.image, [first], []

    def click(self, x: float, y: float, label: int) -> Answer:
        """The answer after one more click on the last answer."""
        answer = self.answer.after([*self.answer.clicks, (x, y, label)])
        self.answers.append(answer)
        self.undone.clear()
        return answer

    def click_all(self, clicks: Sequence[Click]) -> None:
        """Make several clicks one after the other; of the answers only the last is kept."""
        made, answer = [*self.answer.clicks, *clicks], self.answer
        first = len(answer.clicks) + 1 if self.engine.remembers else len(made)
        for end in range(first, len(made) + 1):
            answer = answer.after(made[:end])
        self.begin(answer)

    def undo(self) -> bool:
        """Take back the last click; False where there is none."""
        if len(self.answers) < 2:
            return False
        self.undone.append(self.answers.pop())
        return True

    def redo(self) -> bool:
        """Make the click again that was taken back last; False where there is none."""
        if not self.undone:
            return False
        self.answers.append(self.undone.pop())
        return True

    def forget(self) -> None:
        """Forget prompt and clicks, keep the image."""
        self.answers, self.undone = [], []

    @property
    def answer(self) -> Answer:
        """The last one."""
        return self.answers[-1]


def given_logits(coverage: FloatArray) -> FloatArray:
    """Logits of a given mask, of its coverage (H, W) in [0, 1]: object where that is above one half."""
    return np.where(coverage > 0.5, np.float32(GIVEN_LOGIT), np.float32(-GIVEN_LOGIT)) * np.maximum(
        np.abs(2 * coverage - 1), np.float32(1 / GIVEN_LOGIT)
    )


def low_resolution(given: FloatArray, side: int) -> FloatArray:
    """A given mask as SAM's mask prompt: logits (side, side), as far from 0 as those it is used to."""
    share = cv2.resize((given > 0).astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    logits: FloatArray = (2 * share.astype(np.float32) - 1) * np.float32(MASK_LOGIT)
    return logits


FORMAT = 1
MOST_BYTES = 64  # of a pixel of the frame; the largest encoder says 24 of it
PREFIX = "encoded_"  # of the engine's own arrays


def write_seen(image: SeenImage, engine: Engine, path: Path) -> None:
    """Write an image that `engine` encoded, whole or not at all.

    Raises:
        PisamError: the file cannot be written.
    """
    encoded: dict[str, Any] = {
        f"{PREFIX}{name}": value for name, value in engine.to_arrays(image.encoded).items()
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            format=FORMAT,
            engine=engine.identity(),
            size=np.array(image.size),
            frame=image.frame,
            **encoded,
        )


def read_seen(path: Path, engine: Engine) -> SeenImage:
    """Read what `write_seen` wrote with the same model; nothing in the file is executed.

    Raises:
        ValueError: no such file, or of another model.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if sum(part.file_size for part in file.zip.infolist()) > engine.side**2 * MOST_BYTES + 2**20:
                raise ValueError("larger than what this model says of an image")
            arrays = {name: file[name] for name in file.files}
        identity, frame, size = str(arrays["engine"]), arrays["frame"], arrays["size"]
        if int(arrays["format"]) != FORMAT or identity != engine.identity():
            raise ValueError(f"encoded by {identity:.80}, this model is {engine.identity():.80}")
        whole = frame.dtype == np.uint8 and frame.shape == (engine.side, engine.side, 3)
        fits = size.shape == (2,) and size.dtype.kind in "iu" and size.min() >= 1
        if not whole or not fits or size.astype(float).prod() > MAX_PIXELS:
            raise ValueError(f"frame {frame.dtype} {frame.shape}, size {size.tolist()!r:.80}")
        encoded = {n.removeprefix(PREFIX): v for n, v in arrays.items() if n.startswith(PREFIX)}
        if not all(np.isfinite(values).all() for values in encoded.values()):
            raise ValueError("numbers that are not finite")
        return SeenImage(frame, engine.from_arrays(encoded, frame), (int(size[0]), int(size[1])))
    except Exception as error:  # a damaged archive raises anything: BadZipFile, zlib.error, EOFError, ...
        raise ValueError(f"image {path}: not an image that this predictor saved: {error}") from error
