"""The protocol of a number: stored with it, and followed by validation and evaluation alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version

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
    """The choices that a score depends on.

    Attributes:
        image_size: side S of the network frame in pixels.
        checkpoint_hash: hash of the weights that were scored, where a checkpoint was.
        resize: how an image becomes S x S.
        prompt: what the network was told.
        interpolation: how logits come back to the original size (`logits_to_original`).
        threshold: a pixel is object where its logit is above this.
        boundary_dilation_ratio: width of the band of boundary IoU, as a fraction of the image diagonal.
        torch: version.
        lightning: version.
        pisam: version.
    """

    image_size: int
    checkpoint_hash: str | None = None
    resize: str = "squash"
    prompt: str = "box of the mask"
    interpolation: str = "bilinear"
    threshold: float = LOGIT_THRESHOLD
    boundary_dilation_ratio: float = DILATION_RATIO
    torch: str = field(default_factory=lambda: _installed("torch"))
    lightning: str = field(default_factory=lambda: _installed("lightning"))
    pisam: str = field(default_factory=lambda: _installed("pisam"))

    def as_dict(self) -> dict[str, str | int | float | None]:
        """Plain values, ready for JSON and checkpoints."""
        return asdict(self)
