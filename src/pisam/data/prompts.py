"""Prompts to train with besides the box of the mask, drawn from the mask itself.

The mix of kinds follows HQ-SAM's training (Ke et al., NeurIPS 2023): boxes, points and noisy masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pisam.core.types import BoolArray, FloatArray, PromptKind

# SAM takes the logits of an earlier mask; its own reach about so far.
MASK_LOGIT = 10.0
# SAM's training (appendix A of its paper): at most 20 of 1024 pixels.
MAX_SHIFT = 20 / 1024
FINE = 8  # HQ-SAM blurs a mask by this factor to find its fine parts


@dataclass(frozen=True)
class PromptMix:
    """Proportions in which the kinds of prompt are drawn; only boxes by default."""

    box: float = 1.0  # the box of the mask
    jittered_box: float = 0.0  # its edges moved
    points: float = 0.0  # 1 to `max_points` points on the object
    noisy_mask: float = 0.0  # the mask at a quarter of the frame with noise in its fine parts
    max_points: int = 10  # at most so many points
    box_noise: float = 0.1  # standard deviation of a moved edge, as a share of the box's side

    @property
    def only_boxes(self) -> bool:
        """True where SAM is given nothing but boxes, moved or not."""
        return self.points == self.noisy_mask == 0


@dataclass(frozen=True)
class Prompt:
    """One sample's prompt."""

    kind: PromptKind  # which of the fields SAM is given
    box: FloatArray  # float32 (4,), xyxy edges in pixels of the frame
    points: FloatArray  # float32 (N, 2), on the object, in pixels of the frame
    mask: FloatArray  # float32 (S / 4, S / 4), logits


def draw_prompt(
    mask: BoolArray, box: FloatArray, extent: tuple[int, int], mix: PromptMix, rng: np.random.Generator
) -> Prompt:
    """A prompt for the object in `mask`.

    Args:
        mask: bool (S, S), not empty.
        box: float32 (4,), its box.
        extent: (width, height) of the content; a moved box stays inside.
        mix: how often each kind is drawn.
        rng: all randomness.
    """
    shares = np.array([mix.box, mix.jittered_box, mix.points, mix.noisy_mask])
    side = len(mask) // 4
    points = np.zeros((0, 2), np.float32)
    logits: FloatArray = np.zeros((side, side), np.float32)
    match int(rng.choice(4, p=shares / shares.sum())):
        case 1:
            return Prompt("box", jitter_box(box, extent, len(mask), mix.box_noise, rng), points, logits)
        case 2:
            count = int(rng.integers(1, mix.max_points, endpoint=True))
            return Prompt("points", box, points_on(mask, count, rng), logits)
        case 3:
            logits = np.where(noisy_mask(mask, rng), MASK_LOGIT, -MASK_LOGIT).astype(np.float32)
            return Prompt("mask", box, points, logits)
    return Prompt("box", box, points, logits)


def jitter_box(
    box: FloatArray, extent: tuple[int, int], size: int, noise: float, rng: np.random.Generator
) -> FloatArray:
    """`box` with each edge moved by a normal amount, as in SAM's training, at least a pixel wide and high."""
    sides = np.tile(box[2:] - box[:2], 2)
    shift = np.clip(rng.normal(0, noise * sides), -MAX_SHIFT * size, MAX_SHIFT * size)
    moved = np.clip(box + shift, 0, np.tile(extent, 2))
    first, last = np.minimum(moved[:2], moved[2:]), np.maximum(moved[:2], moved[2:])
    first = np.minimum(first, np.array(extent) - 1)
    return np.concatenate([first, np.maximum(last, first + 1)]).astype(np.float32)


def points_on(mask: BoolArray, count: int, rng: np.random.Generator) -> FloatArray:
    """Centres of `count` pixels of the object, (count, 2); different ones as far as it has so many."""
    pixels = np.flatnonzero(mask)
    chosen = rng.choice(pixels, size=count, replace=count > len(pixels))
    y, x = np.divmod(chosen, mask.shape[1])
    return (np.stack([x, y], axis=1) + 0.5).astype(np.float32)


def noisy_mask(mask: BoolArray, rng: np.random.Generator) -> BoolArray:
    """The mask at a quarter of the frame, with noise where it is fine, as in HQ-SAM's training.

    Fine are the pixels that a blur by a factor of 8 and back changes: edges and thin parts. Normal noise of
    deviation 1 on their coverage turns many of them over. An object is never lost altogether.
    """
    side = len(mask) // 4
    coverage = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(coverage, (side // FINE, side // FINE), interpolation=cv2.INTER_LINEAR)
    back = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR)
    fine = np.abs(coverage - back) >= 0.01
    noisy: BoolArray = coverage + rng.normal(size=coverage.shape) * fine > 0.5
    return noisy if noisy.any() else coverage > 0
