"""Coordinates: pixels to unit and back, boxes from masks, features sampled at points.

A point is (x, y) in pixels with pixel centres at +0.5; a box is xyxy edges, so the pixel (3, 5) alone has
the box (3, 5, 4, 6). Unit coordinates divide by the side of the frame; they stay in `modeling` and `losses`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pisam.core.types import Window


def boxes_from_masks(masks: Tensor) -> Tensor:
    """The tight box of each mask.

    Args:
        masks: bool (B, 1, H, W).

    Returns:
        float (B, 4), xyxy edges in pixels.

    Raises:
        ValueError: a mask is empty, so it has no box.
    """
    boxes = []
    for index, mask in enumerate(masks[:, 0]):
        ys, xs = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        if len(ys) == 0:
            raise ValueError(f"mask {index} of the batch is empty: it has no box; drop it")
        boxes.append(torch.stack([xs[0, 0], ys[0, 0], xs[-1, 0] + 1, ys[-1, 0] + 1]))
    return torch.stack(boxes).float()


def sam_boxes(boxes: Tensor) -> Tensor:
    """Edge boxes (B, 4) as the inclusive pixel indices SAM's prompt encoder expects: it adds 0.5 itself."""
    return boxes - boxes.new_tensor([0.0, 0.0, 1.0, 1.0])


def pixels_to_unit(points: Tensor, height: int, width: int) -> Tensor:
    """Points (..., 2) in pixels of a height x width frame, as fractions of it in [0, 1]."""
    return points / points.new_tensor([width, height])


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


def map_back(values: Tensor, window: Window, size: tuple[int, int], fill: float = 0.0) -> Tensor:
    """What was predicted in a frame, where it lies in the original image.

    Args:
        values: float (1, C, S, S), e.g. logits.
        window: what the frame shows.
        size: (H, W) of the original image.
        fill: of pixels outside of the window, of which the frame says nothing.

    Returns:
        float (1, C, H, W), bilinear inside of the window.
    """
    shown = values[..., : window.out_height, : window.out_width]
    if window.mirrored:
        shown = shown.flip(-1)
    shown = F.interpolate(shown, (window.height, window.width), mode="bilinear", align_corners=False)
    height, width = min(window.height, size[0] - window.top), min(window.width, size[1] - window.left)
    image = values.new_full((*values.shape[:2], *size), fill)
    at = (slice(window.top, window.top + height), slice(window.left, window.left + width))
    image[..., at[0], at[1]] = shown[..., :height, :width]
    return image
