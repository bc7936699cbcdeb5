"""Predictions as 8-bit levels: what is saved as PNG, and what is scored."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pisam.metrics.functional import LOGIT_THRESHOLD
from pisam.metrics.protocol import logits_to_original

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
