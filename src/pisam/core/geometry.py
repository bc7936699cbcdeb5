"""Coordinates: pixels to unit and back, boxes for SAM, features sampled at points.

A point is (x, y) in pixels with pixel centres at +0.5; a box is xyxy edges, so the pixel (3, 5) alone has
the box (3, 5, 4, 6). Unit coordinates divide by the side of the frame; they stay in `modeling` and `losses`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sam_boxes(boxes: Tensor) -> Tensor:
    """Edge boxes (B, 4) as the inclusive pixel indices SAM's prompt encoder expects: it adds 0.5 itself."""
    return torch.cat([boxes[..., :2], boxes[..., 2:] - 1], dim=-1)


def pixels_to_unit(points: Tensor, height: int, width: int) -> Tensor:
    """Points (..., 2) in pixels of a height x width frame, as fractions of it in [0, 1]."""
    return torch.stack([points[..., 0] / width, points[..., 1] / height], dim=-1)


def sample_at(features: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of a feature map at points; zero outside of it.

    Args:
        features: float (B, C, H, W).
        points: (B, N, 2), (x, y) unit coordinates.

    Returns:
        float (B, N, C).
    """
    grid = (2 * points - 1).to(features.dtype)
    return F.grid_sample(features, grid.unsqueeze(2), align_corners=False).squeeze(3).transpose(1, 2)
