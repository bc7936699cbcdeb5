"""SAM, HQ-SAM and Pi-SAM of this package, in torch or as `pisam export` writes them, as entrants."""

from __future__ import annotations

from typing import Any

import numpy as np

from pisam.core.types import UInt8Array
from pisam.data.transforms import squash
from pisam.evaluation.benchmark.entrant import Answer, Box, Clicks, FixedAnswer
from pisam.predictor.engine import Engine, Prompt
from pisam.predictor.session import SeenImage


class Encodings:
    """Cache of each image encoder's answer to the last image, so that models with one SAM encode it once."""

    def __init__(self) -> None:
        self.image: UInt8Array | None = None
        self.seen: dict[str, SeenImage] = {}

    def of(self, engine: Engine, encoder: str, image: UInt8Array) -> SeenImage:
        """Encode the image, unless that was done."""
        if self.image is None or not np.array_equal(image, self.image):
            self.image, self.seen = image, {}
        if encoder not in self.seen:
            frame, (height, width) = squash(image, engine.side), image.shape[:2]
            self.seen[encoder] = SeenImage(frame, engine.encode(frame), (height, width))
        return self.seen[encoder]


class EngineEntrant:
    """`sam`, `sam+mask`, `hq`, `hq+mask`, `pi`, or `onnx:DIR` of an export: answers at the image's own size.

    Without a box the first click alone prompts the decoder, as SAM's point; the others are clicks on its
    answer. Clicks are not guaranteed to be obeyed.
    """

    def __init__(
        self, engine: Engine, name: str, facts: dict[str, Any], encodings: Encodings | None = None
    ) -> None:
        self.engine, self.name, self.facts = engine, name, facts
        self.encodings, self.encoder = encodings or Encodings(), engine.identity()

    def encode(self, image: UInt8Array) -> None:
        """Through the image encoder, once for all models that share it."""
        self.seen = self.encodings.of(self.engine, self.encoder, image)

    def answer(self, prompt: Box | None, clicks: Clicks, previous: Answer | None) -> Answer:
        """The first answer, then what the clicks made of it."""
        placed = self.seen.in_frame([(x, y, int(label)) for x, y, label in clicks.tolist()])
        kept = 0 if prompt is not None else 1
        box = None if prompt is None else (np.reshape(prompt, (2, 2)) * self.seen.scale).ravel()
        asked = Prompt(box if box is None else box.astype(np.float32), tuple(placed[:kept]))
        state = previous.memory if previous else self.engine.first(self.seen.encoded, [asked])[0]
        if placed[kept:]:
            state = self.engine.after(state, placed[kept:])
        return FixedAnswer(self.engine.logits(state, self.seen.size), state)
