"""Binary masks with 64 pixels in a machine word: erosions and counts at a fraction of the memory traffic."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

BITS = 64


def pack(mask: np.ndarray) -> np.ndarray:
    """Words of a mask: pixel (y, x) is bit x % 64 of word (y, x // 64); bits beyond the last column are 0.

    Args:
        mask: bool (H, W).

    Returns:
        uint64 (H, ceil(W / 64)).
    """
    height, width = mask.shape
    words = np.zeros((height, -(-width // BITS)), "<u8")
    octets = np.packbits(mask, axis=1, bitorder="little")
    words.view(np.uint8)[:, : octets.shape[1]] = octets
    return words


def unpack(words: np.ndarray, width: int) -> np.ndarray:
    """The mask, bool (H, width), of contiguous words uint64 (H, ceil(width / 64))."""
    return np.unpackbits(words.view(np.uint8), axis=1, count=width, bitorder="little").view(bool)


def count(words: np.ndarray) -> int:
    """Number of object pixels of contiguous words."""
    return int(cv2.norm(words.view(np.uint8), cv2.NORM_HAMMING))


def erode_box(words: np.ndarray, distance: int) -> np.ndarray:
    """Erosion by a square of side 2 * distance + 1; outside the image nothing is object.

    Args:
        words: uint64 (H, N), bits beyond the last column 0.
        distance: pixels, at least 1.

    Returns:
        uint64 (H, N).
    """
    window = 2 * distance + 1
    rows = np.pad(words, ((distance, distance), (0, 0)))
    for step in _steps(window):
        rows = rows[:-step] & rows[step:]
    for step in _steps(window):
        rows = rows & _shifted(rows, step)
    # Each pixel now holds the AND over itself and what follows it: bring that to the middle of its window.
    return _shifted(rows, -distance)


def _steps(window: int) -> Iterator[int]:
    """Shifts that, each followed by an AND, build a window from windows of half its length."""
    covered = 1
    while covered < window:
        step = min(covered, window - covered)
        yield step
        covered += step


def _shifted(words: np.ndarray, columns: int) -> np.ndarray:
    """The mask whose pixel x is pixel x + columns of the given one, 0 where that lies outside."""
    whole, bits = divmod(abs(columns), BITS)
    result = np.zeros_like(words)
    length = words.shape[1] - whole
    if length <= 0:
        return result
    near, far = np.uint64(bits), np.uint64(BITS - bits)
    if columns >= 0:
        result[:, :length] = words[:, whole:] >> near
        if bits:
            result[:, : length - 1] |= words[:, whole + 1 :] << far
    else:
        result[:, whole:] = words[:, :length] << near
        if bits:
            result[:, whole + 1 :] |= words[:, : length - 1] >> far
    return result
