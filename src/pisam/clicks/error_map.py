"""From prediction and mask on any device to the error maps that the simulator reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# uint8 (H, W): 0 where the prediction is right, 1 on false foreground, 2 on missed foreground;
# in other words the label of the click that repairs the pixel, plus 1.
ErrorMap = NDArray[np.uint8]

NAN_BIT = 128


def error_maps(prediction: Tensor, mask: Tensor, region: Tensor | None = None) -> ErrorMap:
    """Maps of the errors of each prediction and their kind, in one transfer from the device.

    Args:
        prediction: (B, 1, H, W) float logits, positive = object, or bool.
        mask: bool (B, 1, H, W), the truth.
        region: bool (B, 1, H, W), taken for the error in place of prediction xor mask.

    Returns:
        uint8 (B, H, W), B error maps.

    Raises:
        ValueError: a logit is not a number.
    """
    prediction = prediction.detach()
    if prediction.is_cpu:
        # NumPy knows no bfloat16, and 32 bits hold every value of it.
        prediction = prediction.float() if prediction.dtype == torch.bfloat16 else prediction
        # NumPy's one thread is enough; torch's threads wait for one another where other work wants the cores.
        errors = _encode(np, prediction.numpy(), mask.numpy(), None if region is None else region.numpy())
    else:
        errors = _encode(torch, prediction, mask, region).cpu().numpy()
    if (bad := np.flatnonzero(errors[:, 0, 0, 0] & NAN_BIT)).size:
        raise ValueError(f"prediction: expected logits, got NaN in sample {bad[0]}")
    return errors[:, 0]


def _encode(library: Any, prediction: Any, mask: Any, region: Any) -> Any:
    """The error maps in `library`, numpy or torch, with NAN_BIT set all over a sample with a NaN."""
    wrong = (prediction > 0) ^ mask if region is None else region
    errors = wrong.view(library.uint8) + (wrong & mask).view(library.uint8)
    if prediction.dtype != library.bool:
        # The maximum with a NaN is NaN. It travels in the map, so that a GPU is waited for once.
        has_nan = library.isnan(library.amax(prediction, axis=(2, 3), keepdims=True))
        errors |= has_nan.view(library.uint8) * NAN_BIT
    return errors
