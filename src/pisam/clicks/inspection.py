"""The errors of a mask, from prediction and mask on any device; checks of the click functions' arguments."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pisam.clicks.components import ErrorMap, component_depths, find_components
from pisam.clicks.policies import POLICIES, clicks_per_component
from pisam.core.checks import check_number


def check_maps(prediction: Tensor, mask: Tensor, region: Tensor | None) -> None:
    """Raise unless the maps are (B, 1, H, W) alike, of fitting kinds and on one device."""
    _check_map("prediction", prediction)
    if prediction.dtype != torch.bool and not prediction.is_floating_point():
        raise ValueError(f"prediction: expected float logits or bool, got {prediction.dtype}")
    for name, value in (("mask", mask),) if region is None else (("mask", mask), ("region", region)):
        _check_map(name, value)
        if value.dtype != torch.bool:
            raise ValueError(f"{name}: expected bool, got {value.dtype}")
        if value.shape != prediction.shape:
            expected, got = tuple(prediction.shape), tuple(value.shape)
            raise ValueError(f"{name}: expected the prediction's shape {expected}, got {got}")
        if value.device != prediction.device:
            device = prediction.device
            raise ValueError(f"{name}: expected the prediction's device {device}, got {value.device}")


def check_seeds(seeds: Sequence[int], batch_size: int) -> list[int]:
    """The seeds as Python integers; raise unless there is one non-negative integer per sample."""
    if not isinstance(seeds, Sized) or len(seeds) != batch_size:
        got = len(seeds) if isinstance(seeds, Sized) else f"the single value {seeds!r:.40}"
        raise ValueError(f"seeds: expected one integer per sample, {batch_size} in all, got {got}")
    for seed in seeds:
        if not isinstance(seed, Integral) or seed < 0:
            raise ValueError(f"seeds: expected integers >= 0, got {seed!r}")
    return [int(seed) for seed in seeds]


def check_connectivity(connectivity: int) -> None:
    if not isinstance(connectivity, Integral) or connectivity not in (4, 8):
        raise ValueError(f"connectivity: expected 4 or 8, got {connectivity!r}")


def check_margin(margin: float) -> None:
    # Depths are 32-bit, and a margin that rounds to 1 would leave no interior.
    if not isinstance(margin, Real) or not 0 <= np.float32(margin) < 1:
        raise ValueError(f"margin: expected a share of the depth, 0 <= margin < 1, got {margin!r}")


def check_policy(policy: str, noise: float) -> None:
    if policy not in (known := [*POLICIES, "noisy"]):
        raise ValueError(f"policy: expected one of {', '.join(known)}, got {policy!r}")
    if not isinstance(noise, Real) or not 0 <= noise <= 1:
        raise ValueError(f"noise: expected a share of the clicks, 0 <= noise <= 1, got {noise!r}")
    if noise and policy != "noisy":
        raise ValueError(f"noise: expected 0 unless policy is 'noisy', got {noise!r} for {policy!r}")


def _check_map(name: str, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: expected a tensor (B, 1, H, W), got {type(value).__name__}")
    if value.ndim != 4 or value.shape[1] != 1 or 0 in value.shape[2:]:
        raise ValueError(f"{name}: expected shape (B, 1, H, W), got {tuple(value.shape)}")


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


@dataclass(frozen=True)
class ErrorComponent:
    """A connected region that a prediction gets wrong in one way."""

    label: int  # of a click that repairs it: 1 = missed foreground, 0 = false foreground
    area: int  # pixels
    depth: float  # largest distance of its pixels to the nearest pixel outside, within 2 %; 1 for a thin line
    box: tuple[int, int, int, int]  # xyxy edges in pixels
    clicks: int  # N, how many points the paper draws in it; 0 if it is too small to be clicked


def inspect_errors(
    prediction: Tensor,
    mask: Tensor,
    *,
    min_area: int = 8,
    connectivity: int = 8,
    region: Tensor | None = None,
) -> list[list[ErrorComponent]]:
    """The error components that `simulate_clicks` sees, small ones included.

    Args:
        prediction: (B, 1, H, W) float logits, positive = object, or bool.
        mask: bool (B, 1, H, W), the truth.
        min_area: smallest component that is clicked, in pixels.
        connectivity: 8 joins pixels that touch at a corner, 4 does not.
        region: bool (B, 1, H, W), the error in place of prediction xor mask.

    Returns:
        B lists, largest component first.

    Raises:
        ValueError: an argument is not as described above, or a logit is NaN.
    """
    check_maps(prediction, mask, region)
    check_number("min_area", min_area, 1, whole=True)
    check_connectivity(connectivity)
    return [_inspect(errors, min_area, connectivity) for errors in error_maps(prediction, mask, region)]


def _inspect(errors: ErrorMap, min_area: int, connectivity: int) -> list[ErrorComponent]:
    components = find_components(errors, connectivity)
    rows = zip(
        components.labels.tolist(),
        components.areas.tolist(),
        component_depths(components).tolist(),
        map(tuple, components.boxes.tolist()),
        clicks_per_component(components.areas, min_area).tolist(),
        strict=True,
    )
    return sorted((ErrorComponent(*row) for row in rows), key=lambda component: -component.area)
