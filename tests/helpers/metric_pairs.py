"""Pairs of a prediction and a mask of every kind that evaluation meets."""

from __future__ import annotations

import cv2
import numpy as np

Pair = tuple[np.ndarray, np.ndarray]


def field(height: int, width: int, sigma: float, seed: int) -> np.ndarray:
    """float32 (height, width): smooth noise of variance 1; made coarsely where it is coarse."""
    factor = max(1, int(sigma / 4))
    noise = np.random.default_rng(seed).standard_normal((height // factor + 1, width // factor + 1))
    smooth = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), sigma / factor)
    return cv2.resize(smooth / smooth.std(), (width, height), interpolation=cv2.INTER_LINEAR)


def blobs(height: int, width: int, sigma: float, seed: int, threshold: float = 0.5) -> Pair:
    """A mask of blobs about `sigma` pixels wide, and soft levels that miss some and invent others."""
    shape, error = field(height, width, sigma, seed), field(height, width, sigma / 3, seed + 1000)
    levels = 128 + 90 * (shape + 0.6 * error - threshold)
    return np.clip(levels, 0, 255).astype(np.uint8), shape > threshold


def binary(pair: Pair) -> Pair:
    """The same with a prediction of 0 and 255 alone."""
    return (pair[0] > 127).astype(np.uint8) * np.uint8(255), pair[1]


def box(height: int = 60, width: int = 90) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[10:31, 20:67] = True
    return mask


def dot(height: int = 60, width: int = 90) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[7, 9] = True
    return mask


def constant(level: int, mask: np.ndarray) -> Pair:
    return np.full(mask.shape, level, np.uint8), mask


def noise(height: int, width: int, seed: int, share: float = 0.5) -> Pair:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (height, width), np.uint8), random.random((height, width)) < share


def tie() -> Pair:
    """Twice the mean is a level: whether it reaches the adaptive threshold is a matter of rounding."""
    levels = [[0, 85, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 85, 255, 85], [85, 0, 0, 0, 255]]
    return np.array(levels, np.uint8), np.array(levels) > 60


def wires(height: int, width: int, seed: int) -> Pair:
    """Lines one to five pixels thick, of which the prediction loses a third and blurs the rest."""
    random = np.random.default_rng(seed)
    mask, kept = np.zeros((2, height, width), np.uint8)
    for number in range(30):
        ends = [(int(x), int(y)) for x, y in random.uniform(0, 1, (2, 2)) * (width, height)]
        thickness = int(random.integers(1, 6))
        cv2.line(mask, *ends, 1, thickness)
        if number % 3:
            cv2.line(kept, *ends, 255, thickness)
    return cv2.GaussianBlur(kept, (5, 5), 1), mask.astype(bool)


EMPTY, FULL = np.zeros((60, 90), bool), np.ones((60, 90), bool)
SOFT = blobs(150, 210, 12, 0)[0][:60, :90].copy()

PAIRS: dict[str, Pair] = {
    **{f"soft-{seed}": blobs(120 + 17 * seed, 301 - 23 * seed, 3 + 2 * seed, seed) for seed in range(8)},
    **{f"binary-{seed}": binary(blobs(90 + 31 * seed, 130, 4 + seed, seed)) for seed in range(5)},
    "thin": wires(240, 320, 0),
    "thin-binary": binary(wires(240, 320, 1)),
    "noise": noise(70, 130, 0),
    "noise-sparse": noise(130, 70, 1, 0.1),
    "noise-dense": noise(64, 64, 2, 0.9),
    "tie": tie(),
    "empty-soft": (SOFT, EMPTY),
    "empty-empty": constant(0, EMPTY),
    "empty-full": constant(255, EMPTY),
    "empty-grey": constant(77, EMPTY),
    "full-soft": (SOFT, FULL),
    "full-empty": constant(0, FULL),
    "full-full": constant(255, FULL),
    "full-grey": constant(77, FULL),
    "box-soft": (SOFT, box()),
    "box-empty": constant(0, box()),
    "box-full": constant(255, box()),
    "box-exact": (box() * np.uint8(255), box()),
    "box-inverted": (~box() * np.uint8(255), box()),
    "box-at-border": (SOFT, np.roll(box(), (-10, -20), (0, 1))),
    **{f"dot-grey-{level}": constant(level, dot()) for level in (50, 77, 200)},
    "dot-soft": (SOFT, dot()),
    "dot-exact": (dot() * np.uint8(255), dot()),
    **{f"tiny-{seed}": noise(4, 5, seed) for seed in range(4)},
    "row": noise(1, 9, 4),
    "column": noise(9, 1, 5),
    "pixel": (np.full((1, 1), 200, np.uint8), np.ones((1, 1), bool)),
}


def four_k() -> Pair:
    """Blobs and thin lines on 2160 x 3840 pixels."""
    levels, mask = blobs(2160, 3840, 14, 9, threshold=1.2)
    thin_levels, thin_mask = wires(2160, 3840, 2)
    return np.maximum(levels, thin_levels), mask | thin_mask
