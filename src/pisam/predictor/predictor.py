"""Interactive use of a network in torch: the engine of a session, and the predictor on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pisam.core.types import Click, Clicks, FloatArray, Prompts, UInt8Array
from pisam.metrics.protocol import logits_to_original
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_weights import hash_tensors
from pisam.modeling.segmenters import EncodedImage, PiSamSegmenter, Segmenter, State, encode
from pisam.predictor.engine import Prompt, Size
from pisam.predictor.interactive import InteractivePredictor

AT_ONCE = 8  # prompts decoded together: more takes memory and is no faster
KEPT = ("embedding", "early")


class TorchEngine:
    """Answers with a segmenter, on the device that its model is on; a model in training is asked as if not.

    Args:
        segmenter: its model in 32 bits.

    Raises:
        ValueError: when asked; the weights are of other bits, or moved since the image was set.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    @property
    def side(self) -> int:
        return self.segmenter.model.image_size

    @property
    def remembers(self) -> bool:
        return bool(getattr(self.segmenter, "reprompt", True))

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.segmenter.model.pixel_mean.device

    def encode(self, frame: UInt8Array) -> EncodedImage:
        with self._evaluating(self.device):
            return encode(self.segmenter.model, self._as_batch(frame))

    def first(self, encoded: EncodedImage, prompts: Sequence[Prompt]) -> list[State]:
        states: list[State] = []
        for start in range(0, len(prompts), AT_ONCE):
            part = prompts[start : start + AT_ONCE]
            images = encoded.repeated(len(part))
            boxes = np.stack([np.zeros(4, np.float32) if one.box is None else one.box for one in part])
            given = None if all(one.only_box for one in part) else self._prompts(part, encoded)
            box = torch.from_numpy(boxes.astype(np.float32)).to(self.device)
            with self._evaluating(encoded.image.device):
                states += self.segmenter.first(images.image, box, images, given).rows()
        return states

    def after(self, state: State, clicks: Sequence[Click]) -> State:
        with self._evaluating(state.logits.device):
            return self.segmenter.after(state, Clicks.of([clicks]).to(self.device))

    def logits(self, state: State, size: Size) -> FloatArray:
        logits: FloatArray = logits_to_original(state.logits, size)[0, 0].cpu().numpy()
        return logits

    def identity(self) -> str:
        model = self.segmenter.model
        return f"{model.backbone} {model.image_size} {model.frozen_hash()}"

    def model_identity(self) -> str:
        model = self.segmenter.model
        weights = hash_tensors(model.own_state())
        return f"{self.segmenter.name} {model.identity()} {self.remembers} {weights}"

    def to_arrays(self, encoded: EncodedImage) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(encoded, name).float().cpu().numpy() for name in KEPT}

    def from_arrays(self, arrays: Mapping[str, npt.NDArray[Any]], frame: UInt8Array) -> EncodedImage:
        embedding, early = (torch.from_numpy(arrays[name]).to(self.device) for name in KEPT)
        if embedding.shape[-1] * 16 != self.side or embedding.shape[0] != 1 or early.ndim != 4:
            raise ValueError(f"embedding {tuple(embedding.shape)} of another frame than {self.side}")
        encoder = self.segmenter.model.encoder.image_encoder
        return EncodedImage(self._as_batch(frame), embedding, early, encoder)

    @contextmanager
    def _evaluating(self, device: torch.device) -> Iterator[None]:
        """The model in evaluation mode, fit for what is on a device; who trains it may ask meanwhile."""
        model = self.segmenter.model
        if (kind := model.pixel_mean.dtype) != torch.float32:
            raise ValueError(f"model: expected weights of torch.float32, got {kind}; call model.float()")
        if device != self.device:
            raise ValueError(f"model: is on {self.device} now, the image on {device}; call set_image again")
        training = [module for module in model.modules() if module.training]
        for module in training:
            module.training = False
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def _as_batch(self, frame: UInt8Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].to(self.device)

    def _prompts(self, prompts: Sequence[Prompt], encoded: EncodedImage) -> Prompts:
        side = encoded.embedding.shape[-1] * 4
        none = np.zeros((side, side), np.float32)
        masks = np.stack([none if one.mask is None else one.mask for one in prompts])[:, None]
        points = Clicks.of([one.points for one in prompts]).to(self.device)
        return Prompts([_kind(one) for one in prompts], points, torch.from_numpy(masks).to(self.device))


def _kind(prompt: Prompt) -> Any:
    """A `PromptKind`."""
    given = {"box": prompt.box is not None, "points": bool(prompt.points), "mask": prompt.mask is not None}
    return "+".join(part for part, there in given.items() if there)


class PiSamPredictor(InteractivePredictor):
    """Segments objects of images of any size with Pi-SAM; the verbs are those of `InteractivePredictor`.

    Args:
        model: the network, in 32 bits, used on the device it is on and put into evaluation mode; while it is
            trained further, answers are those of evaluation mode all the same.
        guarantee: whether each clicked pixel has its label after `click`, whatever the network says.
        reprompt: ask the decoder again after each click; None = if the model was trained for that.

    Raises:
        ValueError: no network, or another one.
    """

    def __init__(self, model: PiSam, *, guarantee: bool = True, reprompt: bool | None = None) -> None:
        if not isinstance(model, torch.nn.Module) or not hasattr(model, "interactor"):
            raise ValueError(f"model: expected what load_model gives, got {type(model).__name__}")
        self.model = model.eval()
        engine = TorchEngine(PiSamSegmenter(self.model, reprompt=reprompt))
        super().__init__(engine, guarantee=guarantee)
