"""The base of every network on frozen SAM: images normalised, SAM never changed, a state of its own."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from pisam.modeling.backbones import SamParts
from pisam.modeling.sam_encoder import SamEncoder
from pisam.modeling.sam_weights import hash_tensors, load_strictly

PIXEL_MEAN = (123.675, 116.28, 103.53)  # SAM's, of RGB in 0..255
PIXEL_STD = (58.395, 57.12, 57.375)
Part = Literal["decoder", "interactor"]


class SamNetwork(nn.Module):
    """Frozen SAM and a decoder of our own around SAM's.

    SAM's parts never change: no gradient, always in evaluation mode, also after `.train()`.

    Args:
        backbone: name of the SAM backbone.
        image_size: side S of the square frame.
        parts: a SAM with its weights loaded.
        decoder: module that holds SAM's mask decoder as `sam_decoder`.
    """

    kind: str  # of decoder: what a checkpoint says it is for
    decoder: nn.Module
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, *, backbone: str, image_size: int, parts: SamParts, decoder: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.image_size = int(image_size)  # of NumPy, too; a checkpoint says it in plain values
        self.encoder = SamEncoder(parts.image_encoder, parts.prompt_encoder)
        self.decoder = decoder
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)
        for part in self._sam_modules():
            part.requires_grad_(False)
        self._hashed: tuple[list[tuple[str, int]], str] | None = None
        self.train(self.training)

    def normalise(self, image: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) RGB -> float, with SAM's mean and standard deviation."""
        return (image.float() - self.pixel_mean) / self.pixel_std

    def train_only(self, part: Part) -> None:
        """Unfreeze one part, freeze everything else. SAM inside the decoder stays frozen."""
        self.requires_grad_(False)
        self.get_submodule(part).requires_grad_(True)
        for module in self._sam_modules():
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> SamNetwork:
        super().train(mode)
        for part in self._sam_modules():
            part.eval()  # BatchNorm in TinyViT would drift otherwise
        return self

    def frozen_hash(self, *, fresh: bool = False) -> str:
        """SHA-256 of every parameter and buffer of SAM's parts.

        Args:
            fresh: read the weights, which takes seconds, also where torch saw no change since.
        """
        tensors = {
            f"{index}.{name}": value
            for index, part in enumerate(self._sam_modules())
            for name, value in [*part.named_parameters(), *part.named_buffers()]
        }
        versions = [(name, value._version) for name, value in tensors.items()]
        if fresh or self._hashed is None or self._hashed[0] != versions:
            self._hashed = versions, hash_tensors(tensors)
        return self._hashed[1]

    def own_state(self) -> dict[str, Tensor]:
        """The state that a checkpoint must hold: everything but SAM's parts."""
        return {name: value for name, value in self.state_dict().items() if not _is_sam(name)}

    def load_own_state(self, state: dict[str, Tensor], *, what: str) -> None:
        """Load what `own_state` gave, strictly.

        Raises:
            PisamError: other names or shapes; `what` begins the message.
        """
        sam = {name: value for name, value in self.state_dict().items() if _is_sam(name)}
        load_strictly(self, state | sam, what=what)  # SAM stays as it is, whatever `state` holds

    def identity(self) -> dict[str, Any]:
        """The identity of a checkpoint's model, in plain values."""
        return {
            "backbone": self.backbone,
            "image_size": self.image_size,
            "decoder": self.kind,
            "frozen_hash": self.frozen_hash(),
        }

    def _sam_modules(self) -> tuple[nn.Module, ...]:
        return self.encoder, self.decoder.get_submodule("sam_decoder")


def _is_sam(name: str) -> bool:
    return name.startswith(("encoder.", "decoder.sam_decoder."))
