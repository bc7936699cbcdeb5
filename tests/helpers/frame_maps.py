"""What frames and boxes should be, computed the other way round."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pisam.core.types import Window


def boxes_from_masks(masks: Tensor) -> Tensor:
    """The tight boxes, xyxy edges (B, 4), of masks bool (B, 1, H, W)."""
    boxes = []
    for mask in masks[:, 0]:
        ys, xs = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        boxes.append(torch.stack([xs[0, 0], ys[0, 0], xs[-1, 0] + 1, ys[-1, 0] + 1]))
    return torch.stack(boxes).float()


def to_frame(points: Tensor, window: Window) -> Tensor:
    """Points (..., 2) in pixels of the original image, in pixels of the frame."""
    x = (points[..., 0] - window.left) * window.out_width / window.width
    y = (points[..., 1] - window.top) * window.out_height / window.height
    return torch.stack([window.out_width - x if window.mirrored else x, y], dim=-1)


def to_original(points: Tensor, window: Window) -> Tensor:
    """Points (..., 2) in pixels of the frame, in pixels of the original image."""
    x, y = points.unbind(dim=-1)
    x = window.out_width - x if window.mirrored else x
    x, y = (
        x * window.width / window.out_width + window.left,
        y * window.height / window.out_height + window.top,
    )
    return torch.stack([x, y], dim=-1)


def map_back(values: Tensor, window: Window, size: tuple[int, int], fill: float = 0.0) -> Tensor:
    """Values (1, C, S, S) of a frame where they lie in the image of `size`; `fill` outside of the window."""
    shown = values[..., : window.out_height, : window.out_width]
    if window.mirrored:
        shown = shown.flip(-1)
    shown = F.interpolate(shown, (window.height, window.width), mode="bilinear", align_corners=False)
    height, width = min(window.height, size[0] - window.top), min(window.width, size[1] - window.left)
    image = values.new_full((*values.shape[:2], *size), fill)
    at = (slice(window.top, window.top + height), slice(window.left, window.left + width))
    image[..., at[0], at[1]] = shown[..., :height, :width]
    return image
