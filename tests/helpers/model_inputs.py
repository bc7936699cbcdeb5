"""Random inputs and weights for the tests of the network's parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pisam.core.types import Clicks, ObjectFeatures, SamFeatures


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal values, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomise(module: nn.Module, *, scale: float = 0.3, seed: int = 0) -> nn.Module:
    """Draw every parameter anew, also those that start at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, scale, generator=generator)
    return module


def random_images(size: int = 64) -> Tensor:
    """Two frames."""
    return torch.randint(
        0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def random_features(batch: int, *, side: int = 4, early_dim: int = 24, seed: int = 0) -> SamFeatures:
    """What a SAM might say of `batch` frames of 16 * side pixels."""
    return SamFeatures(
        image_embedding=normal(batch, 256, side, side, seed=seed),
        early=normal(batch, early_dim, side, side, seed=seed + 1),
        sparse_prompt=normal(batch, 2, 256, seed=seed + 2),
        dense_prompt=normal(batch, 256, side, side, seed=seed + 3),
        position=normal(1, 256, side, side, seed=seed + 4),
    )


def random_objects(batch: int, *, side: int = 16, seed: int = 0) -> ObjectFeatures:
    """Object features of frames of 4 * side pixels."""
    return ObjectFeatures(normal(batch, 32, side, side, seed=seed), normal(batch, 32, seed=seed + 1))


def random_clicks(batch: int, count: int, *, frame: int = 64, seed: int = 0) -> Clicks:
    """`count` valid clicks per sample."""
    generator = torch.Generator().manual_seed(seed)
    return Clicks(
        points=torch.rand(batch, count, 2, generator=generator) * frame,
        labels=torch.randint(0, 2, (batch, count), generator=generator),
        valid=torch.ones(batch, count, dtype=torch.bool),
    )
