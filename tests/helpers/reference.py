"""Slow, obvious truths that fast code is held against. Nothing here comes from the package."""

from __future__ import annotations

import math

import numpy as np

# ---- clicks: the simulation of the paper's supplement (B, C), read sentence by sentence, pixel by pixel ----


def click_components(wrong: np.ndarray, mask: np.ndarray, connectivity: int = 8) -> list[dict]:
    """The error components of one image, each grown from a seed pixel to all neighbours of the same kind.

    Args:
        wrong: bool (H, W), the error.
        mask: bool (H, W), the truth: a wrong pixel of the object was missed, any other was invented.

    Returns:
        Per component its click `label` and the set of its `pixels` (x, y).
    """
    height, width = wrong.shape
    steps = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if (dx, dy) != (0, 0)]
    if connectivity == 4:
        steps = [(dx, dy) for dx, dy in steps if dx == 0 or dy == 0]
    unseen = {(x, y) for y in range(height) for x in range(width) if wrong[y, x]}
    components = []
    while unseen:
        start = unseen.pop()
        label = int(mask[start[1], start[0]])
        pixels, frontier = {start}, [start]
        while frontier:
            x, y = frontier.pop()
            for dx, dy in steps:
                neighbour = (x + dx, y + dy)
                if neighbour in unseen and mask[neighbour[1], neighbour[0]] == bool(label):
                    unseen.remove(neighbour)
                    pixels.add(neighbour)
                    frontier.append(neighbour)
        components.append({"label": label, "pixels": pixels})
    return components


def click_distances(pixels: set[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """How far each pixel of a component is from the nearest that is not of it, in the image or beyond."""
    xs, ys = zip(*pixels, strict=True)
    around = [(x, y) for x in range(min(xs) - 1, max(xs) + 2) for y in range(min(ys) - 1, max(ys) + 2)]
    outside = [pixel for pixel in around if pixel not in pixels]
    return {pixel: min(math.dist(pixel, other) for other in outside) for pixel in pixels}


def click_count(area: int, min_area: int = 8) -> int:
    """How many points the supplement draws in a component: max(1, min(10, sqrt(area) / 10)), rounded down."""
    if area < min_area:
        return 0
    return max(1, min(10, math.isqrt(area) // 10))


def click_interior(pixels: set[tuple[int, int]], margin: float = 0.25) -> set[tuple[int, int]]:
    """What is left of a component when its boundary portion is removed.

    Distances are granted an error of 2 %: a pixel is missing only if it is surely of the boundary portion.
    """
    distances = click_distances(pixels)
    boundary = 0.98 * margin * max(distances.values())
    return {pixel for pixel, distance in distances.items() if 1.02 * distance > boundary}


def click_erosion(wrong: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The wrong pixels whose 3x3 neighbourhood lies in the image and is wrong in the same way."""
    eroded = np.zeros_like(wrong)
    for y in range(1, wrong.shape[0] - 1):
        for x in range(1, wrong.shape[1] - 1):
            square = np.s_[y - 1 : y + 2, x - 1 : x + 2]
            eroded[y, x] = wrong[square].all() and (mask[square] == mask[y, x]).all()
    return eroded


# ---- interaction benchmark: supplement C and the number-of-clicks protocol, pixel by pixel ----


def common_error_pixels(predictions: list[np.ndarray], mask: np.ndarray) -> set[tuple[int, int]]:
    """The pixels (x, y) that no model has right."""
    height, width = mask.shape
    return {
        (x, y)
        for y in range(height)
        for x in range(width)
        if not any(prediction[y, x] == mask[y, x] for prediction in predictions)
    }


def deepest_pixels(wrong: np.ndarray, mask: np.ndarray) -> dict[tuple[int, int], int]:
    """Of the largest error components: the pixels farthest from the outside, and their label."""
    components = click_components(wrong, mask)
    area = max(len(component["pixels"]) for component in components)
    deepest = {}
    for component in components:
        if len(component["pixels"]) == area:
            distances = click_distances(component["pixels"])
            depth = max(distances.values())
            deepest |= {
                pixel: component["label"]
                for pixel, distance in distances.items()
                if math.isclose(distance, depth, rel_tol=1e-6)
            }
    return deepest


# ---- RITM's clicker, read line by line and worked out pixel by pixel in whole numbers ----


def squared_depths(inside: np.ndarray) -> np.ndarray:
    """How far each pixel inside is from the nearest that is not, squared; the border is outside."""
    padded = np.pad(inside, 1)
    outside = np.argwhere(~padded)
    depths = np.zeros(padded.shape, np.int64)
    for y, x in np.argwhere(padded):
        depths[y, x] = ((outside - (y, x)) ** 2).sum(axis=1).min()
    return depths[1:-1, 1:-1]


def ritm_click(
    prediction: np.ndarray, mask: np.ndarray, clicked: set[tuple[int, int]]
) -> tuple[int, int, int] | None:
    """(x, y, label) of the next click, None where no pixel is left to click."""
    missed, false = squared_depths(mask & ~prediction), squared_depths(~mask & prediction)
    for x, y in clicked:
        missed[y, x] = false[y, x] = 0
    if missed.max() == false.max() == 0:
        return None
    positive = missed.max() > false.max()
    depths = missed if positive else false
    ys, xs = np.where(depths == depths.max())
    return int(xs[0]), int(ys[0]), int(positive)
