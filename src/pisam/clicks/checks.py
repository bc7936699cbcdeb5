"""Checks of the click functions' arguments; each ValueError names the argument."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

from pisam.clicks.policies import POLICIES


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
