"""The protocol of a number, and the way from logits to the 8-bit levels that are saved and scored by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pisam.metrics.functional import DILATION_RATIO, LOGIT_THRESHOLD

BACKGROUND = -100.0  # a logit without any doubt, which is finite


def logits_to_original(logits: Tensor, size: Sequence[int], ignored: Tensor | None = None) -> Tensor:
    """Logits of the squashed frame on the pixels of the original image: the last step before any score.

    Args:
        logits: float (1, 1, S, S).
        size: (H, W) of the original image.
        ignored: bool (H, W), pixels that become background whatever was predicted.

    Returns:
        float32 (1, 1, H, W), bilinear between pixel centres.
    """
    at_original = F.interpolate(logits.float(), size=list(size), mode="bilinear", align_corners=False)
    return at_original if ignored is None else at_original.masked_fill(ignored, BACKGROUND)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """Versions of the packages that scores are computed with, and our own."""
    return {name: _installed(name) for name in ("numpy", "scipy", "scikit-image", "torch", "pisam")}


@dataclass(frozen=True)
class Protocol:
    """The choices that a score depends on."""

    image_size: int  # side S of the network frame in pixels
    checkpoint_hash: str | None = None  # hash of the weights that were scored, where a checkpoint was
    resize: str = "squash"  # how an image becomes S x S
    prompt: str = "box of the mask"  # what the network was told
    interpolation: str = "bilinear"  # how logits come back to the original size (`logits_to_original`)
    threshold: float = LOGIT_THRESHOLD  # a pixel is object where its logit is above this
    # width of the band of boundary IoU, as a fraction of the image diagonal
    boundary_dilation_ratio: float = DILATION_RATIO
    torch: str = field(default_factory=lambda: _installed("torch"))  # version
    lightning: str = field(default_factory=lambda: _installed("lightning"))  # version
    pisam: str = field(default_factory=lambda: _installed("pisam"))  # version

    def as_dict(self) -> dict[str, str | int | float | None]:
        """Plain values, ready for JSON and checkpoints."""
        return asdict(self)


OBJECT_ABOVE = 127
"""A level above this is object, as a logit above 0 and a probability above 0.5 are."""


def logits_to_levels(logits: Tensor) -> np.ndarray:
    """Levels round(255 * sigmoid(logit)), where exactly the positive logits are above `OBJECT_ABOVE`.

    Args:
        logits: float (H, W) or with leading axes of length 1, on any device.

    Returns:
        uint8 (H, W).

    Raises:
        ValueError: not one image, or NaN in it.
    """
    if logits.ndim < 2 or logits.numel() != logits.shape[-2] * logits.shape[-1]:
        raise ValueError(f"expected one image (H, W) or (1, 1, H, W), got {tuple(logits.shape)}")
    if logits.isnan().any():
        raise ValueError("expected logits, got NaN among them")
    logits = logits.detach().reshape(logits.shape[-2:]).float()
    levels = (255 * logits.sigmoid()).round()
    # Next to 0 a rounded sigmoid would decide otherwise than the sign.
    levels = torch.where(
        logits > LOGIT_THRESHOLD, levels.clamp(min=OBJECT_ABOVE + 1), levels.clamp(max=OBJECT_ABOVE)
    )
    return levels.to(torch.uint8).cpu().numpy()


def probabilities_to_levels(probabilities: np.ndarray) -> np.ndarray:
    """Levels round(255 * probability), halves downwards, so that 0.5 itself is not object.

    Args:
        probabilities: float (H, W) in [0, 1].

    Returns:
        uint8 (H, W).
    """
    return np.ceil(probabilities * 255 - 0.5).astype(np.uint8)


def levels_at_original(logits: Tensor, mask: Tensor) -> np.ndarray:
    """Levels (H, W) of logits (1, S, S), at the size of the original mask: what is saved and scored."""
    return logits_to_levels(logits_to_original(logits[None], mask.shape))
