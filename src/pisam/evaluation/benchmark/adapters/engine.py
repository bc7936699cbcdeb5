"""SAM, HQ-SAM and Pi-SAM of this package as entrants of the benchmark."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pisam.core.types import Clicks as TensorClicks
from pisam.core.types import Prompts, UInt8Array
from pisam.data.transforms import frame_for_validation
from pisam.evaluation.benchmark.entrant import Answer, Box, Clicks
from pisam.metrics.protocol import logits_to_original
from pisam.modeling.segmenters import EncodedImage, Segmenter, State, encode


class Encodings:
    """What each image encoder said of the last image, so that models with the same SAM encode it once."""

    def __init__(self) -> None:
        self.image: UInt8Array | None = None
        self.said: dict[int, EncodedImage] = {}

    def of(self, segmenter: Segmenter, image: UInt8Array) -> EncodedImage:
        """Encode the image, unless that was done."""
        if image is not self.image:
            self.image, self.said = image, {}
        network = segmenter.model
        encoder = id(network.encoder.image_encoder)
        if encoder not in self.said:
            framed = frame_for_validation(image, np.ones(image.shape[:2], bool), network.image_size)
            frame = torch.from_numpy(framed.image).permute(2, 0, 1)[None].to(network.pixel_mean.device)
            self.said[encoder] = encode(network, frame)
        return self.said[encoder]


class Ours:
    """`sam`, `sam+mask`, `hq`, `hq+mask` or `pi`: the image squashed into the frame, answers at its own size.

    Without a box the first click alone prompts the decoder, as SAM's point; the others are clicks on its
    answer.

    Args:
        segmenter: the model.
        encodings: shared by models that may have an encoder in common.
        facts: of the model, kept with its results.
    """

    def __init__(
        self, segmenter: Segmenter, encodings: Encodings, facts: dict[str, object] | None = None
    ) -> None:
        self.segmenter, self.encodings, self.name = segmenter, encodings, segmenter.name
        self.facts = facts or {}

    def encode(self, image: UInt8Array) -> None:
        """Through the image encoder, once for all models that share it."""
        self.size, self.encoded = image.shape[:2], self.encodings.of(self.segmenter, image)

    @torch.inference_mode()
    def answer(self, prompt: Box | None, clicks: Clicks, previous: Answer | None) -> Answer:
        """The first answer, then what the clicks made of it."""
        state: State = self._first(prompt, clicks) if previous is None else previous.memory
        kept = 0 if prompt is not None else 1
        if len(clicks) > kept:
            state = self.segmenter.after(state, self._in_frame(clicks[kept:]))
        return Answer(logits_to_original(state.logits, self.size)[0, 0].cpu().numpy(), state)

    def _first(self, prompt: Box | None, clicks: Clicks) -> State:
        image = self.encoded.image
        if prompt is not None:
            box = self._tensor(np.array(prompt).reshape(2, 2) * self._scale).reshape(1, 4)
            return self.segmenter.first(image, box, self.encoded)
        side = image.shape[-1]
        whole = torch.tensor([[0.0, 0.0, side, side]], device=image.device)  # read by no prompt of points
        prompts = Prompts(["points"], self._in_frame(clicks[:1]), torch.zeros(1, 1, side // 4, side // 4))
        return self.segmenter.first(image, whole, self.encoded, prompts)

    @property
    def _scale(self) -> Clicks:
        return self.encoded.image.shape[-1] / np.array([self.size[1], self.size[0]], np.float64)

    def _in_frame(self, clicks: Clicks) -> TensorClicks:
        labels = torch.from_numpy(clicks[None, :, 2]).long()
        points, valid = (
            self._tensor(clicks[None, :, :2] * self._scale),
            torch.ones_like(labels, dtype=torch.bool),
        )
        return TensorClicks(points, labels, valid).to(points.device)

    def _tensor(self, values: Clicks) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.encoded.image.device)
