"""Pi-SAM assembled: frozen SAM, High-Resolution Mask Decoder, Precise Interactor; built, saved and loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pisam.errors import PisamError
from pisam.modeling.backbones import SamParts, build_sam_parts
from pisam.modeling.hr_mask_decoder import HighResolutionMaskDecoder
from pisam.modeling.precise_interactor import PreciseInteractor
from pisam.modeling.sam_encoder import SamEncoder
from pisam.modeling.sam_weights import (
    find_sam_weights,
    hash_tensors,
    load_sam_weights,
    load_strictly,
    read_checkpoint,
)
from pisam.types import Clicks, ObjectFeatures, Prediction

PIXEL_MEAN = (123.675, 116.28, 103.53)  # SAM's, of RGB in 0..255
PIXEL_STD = (58.395, 57.12, 57.375)
CHECKPOINT_KEY = "pisam"  # where a checkpoint of ours says which model it belongs to
Part = Literal["decoder", "interactor"]


class PiSam(nn.Module):
    """The whole network.

    SAM's parts never change: no gradient, always in evaluation mode, also after `.train()`.

    Args:
        backbone: name of the SAM backbone.
        image_size: side S of the square frame.
        parts: a SAM with its weights loaded.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, *, backbone: str, image_size: int, parts: SamParts) -> None:
        super().__init__()
        self.backbone = backbone
        self.image_size = image_size
        self.encoder = SamEncoder(parts.image_encoder, parts.prompt_encoder)
        self.decoder = HighResolutionMaskDecoder(sam_decoder=parts.mask_decoder, early_dim=parts.early_dim)
        self.interactor = PreciseInteractor()
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)
        for part in self._sam_modules():
            part.requires_grad_(False)
        self.train(self.training)

    def normalise(self, image: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) RGB -> float, with SAM's mean and standard deviation."""
        return (image.float() - self.pixel_mean) / self.pixel_std

    def straight_forward(self, image: Tensor, box: Tensor) -> tuple[ObjectFeatures, Prediction]:
        """The prediction before any click, and the object's features it was made from.

        Args:
            image: uint8 (B, 3, S, S) RGB.
            box: float (B, 4), xyxy edges in pixels of the frame.
        """
        normalised = self.normalise(image)
        return self.decoder(self.encoder(normalised, box), normalised)

    def interact(self, objects: ObjectFeatures, image: Tensor, clicks: Clicks) -> Tensor:
        """Logits (B, 1, S, S) after clicks (pixels of the frame); without any, the straight-forward ones."""
        return self.decoder.head(self.interactor(objects, clicks), self.normalise(image))

    def forward(self, image: Tensor, box: Tensor, clicks: Clicks | None = None) -> Prediction:
        """Masks of the prompted objects: see `straight_forward` and `interact` for the arguments."""
        objects, prediction = self.straight_forward(image, box)
        if clicks is None:
            return prediction
        return Prediction(prediction.low_res, self.interact(objects, image, clicks))

    def train_only(self, part: Part) -> None:
        """Unfreeze one part, freeze everything else. SAM inside the decoder stays frozen."""
        self.requires_grad_(False)
        (self.decoder if part == "decoder" else self.interactor).requires_grad_(True)
        self.decoder.sam_decoder.requires_grad_(False)

    def train(self, mode: bool = True) -> PiSam:
        super().train(mode)
        for part in self._sam_modules():
            part.eval()  # BatchNorm in TinyViT would drift otherwise
        return self

    def frozen_hash(self) -> str:
        """SHA-256 of every parameter and buffer of SAM's parts."""
        return hash_tensors(
            {
                f"{index}.{name}": value
                for index, part in enumerate(self._sam_modules())
                for name, value in [*part.named_parameters(), *part.named_buffers()]
            }
        )

    def own_state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold: everything but SAM's parts."""
        return {name: value for name, value in self.state_dict().items() if not _is_sam(name)}

    def load_own_state(self, state: dict[str, Tensor], *, what: str) -> None:
        """Load what `own_state` gave, strictly.

        Raises:
            PisamError: other names or shapes; `what` begins the message.
        """
        sam = {name: value for name, value in self.state_dict().items() if _is_sam(name)}
        load_strictly(self, state | sam, what=what)  # SAM stays as it is, whatever `state` holds

    def identity(self) -> dict[str, Any]:
        """Which model a checkpoint belongs to, in plain values."""
        return {
            "backbone": self.backbone,
            "image_size": self.image_size,
            "decoder": "pi",
            "frozen_hash": self.frozen_hash(),
        }

    def _sam_modules(self) -> tuple[nn.Module, ...]:
        return self.encoder, self.decoder.sam_decoder


def build_model(backbone: str, weights: str | Path | None = None, image_size: int = 1024) -> PiSam:
    """A Pi-SAM with SAM's weights loaded and its own parts freshly initialised.

    Args:
        backbone: nano, vit_t, vit_b, vit_l or vit_h.
        weights: SAM's checkpoint or a directory of them; default: $PISAM_WEIGHTS. `nano` has none.
        image_size: side S of the square frame, a multiple of 64.

    Raises:
        PisamError: weights absent, unreadable or of another model.
        ValueError: unknown backbone or a size that is no multiple of 64.
    """
    path = None
    if backbone in ("vit_t", "vit_b", "vit_l", "vit_h"):
        location = weights or os.environ.get("PISAM_WEIGHTS")
        if location is None:
            raise PisamError(
                f"SAM weights for {backbone}: none given; set model.weights or PISAM_WEIGHTS to SAM's "
                "checkpoint or a directory that holds it"
            )
        path = find_sam_weights(location, backbone)
    parts = build_sam_parts(backbone, image_size)
    if path is not None:
        load_sam_weights(parts, path, image_size)
    return PiSam(backbone=backbone, image_size=image_size, parts=parts)


def load_model(checkpoint: str | Path, weights: str | Path | None = None) -> PiSam:
    """The model of a checkpoint of ours, in evaluation mode; the checkpoint says which SAM it stands on.

    Args:
        checkpoint: a stage's `.ckpt`, or what `pisam import-released` wrote.
        weights: as in `build_model`.

    Raises:
        PisamError: not a checkpoint of ours, or made on other SAM weights.
    """
    path = Path(checkpoint)
    contents = read_checkpoint(path)
    identity = read_identity(contents, path)
    model = build_model(identity["backbone"], weights, identity["image_size"])
    load_checkpoint(model, contents, path)
    return model.eval()


def load_checkpoint(model: PiSam, contents: dict, path: Path) -> None:
    """Load a checkpoint of ours into `model` after checking that it belongs to it.

    Raises:
        PisamError: another backbone, frame size, decoder or frozen part; the first difference is named.
    """
    theirs, ours = read_identity(contents, path), model.identity()
    for key, value in ours.items():
        if theirs.get(key) != value:
            raise PisamError(f"checkpoint {path}: made with {key} {theirs.get(key)}, this model has {value}")
    prefix = "model."
    state = {name.removeprefix(prefix): value for name, value in contents["state_dict"].items()}
    model.load_own_state(state, what=f"checkpoint {path}")


def read_identity(contents: dict, path: Path) -> dict[str, Any]:
    """Which model a checkpoint of ours belongs to: see `PiSam.identity`.

    Raises:
        PisamError: not a checkpoint of ours.
    """
    identity = contents.get(CHECKPOINT_KEY)
    if (
        not isinstance(identity, dict)
        or not {"backbone", "image_size"} <= identity.keys()
        or not isinstance(contents.get("state_dict"), dict)
    ):
        raise PisamError(
            f"checkpoint {path}: not written by pisam; a released Pi-SAM file goes through "
            f"`pisam import-released {path}` first"
        )
    return identity


def checkpoint_of(model: PiSam) -> dict[str, Any]:
    """Contents of a checkpoint of ours: own weights under Lightning's names, and the model's identity."""
    return {
        "state_dict": {f"model.{name}": value for name, value in model.own_state().items()},
        CHECKPOINT_KEY: model.identity(),
    }


def _is_sam(name: str) -> bool:
    return name.startswith(("encoder.", "decoder.sam_decoder."))
