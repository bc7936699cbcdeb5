"""Thin structures to draw: wheels, fences, nets, branches and pierced discs, each with places for a plate."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from pisam.core.types import UInt8Array

# Shapes are drawn at this multiple of the final size and averaged down, for smooth edges.
OVERSAMPLE = 2


@dataclass
class Drawing:
    """White shapes on a black canvas, in float pixels (x, y) of the final image.

    Attributes:
        height, width: of the final image.
        anchors: centres of places in or at the structure where a plate may sit.
    """

    height: int
    width: int
    canvas: UInt8Array = field(init=False)
    anchors: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.canvas = np.zeros((self.height * OVERSAMPLE, self.width * OVERSAMPLE), np.uint8)

    def polyline(self, points: np.ndarray, stroke: float, *, closed: bool = False) -> None:
        """Connected strokes through points (N, 2)."""
        pixels = np.round(points * OVERSAMPLE).astype(np.int32)
        cv2.polylines(self.canvas, [pixels], closed, 255, thickness=max(1, round(stroke * OVERSAMPLE)))

    def disc(self, centre: np.ndarray, radius: float, value: int = 255) -> None:
        """A filled disc; value 0 makes a hole."""
        x, y = np.round(centre * OVERSAMPLE).astype(int)
        cv2.circle(self.canvas, (int(x), int(y)), max(1, round(radius * OVERSAMPLE)), value, thickness=-1)

    def coverage(self) -> np.ndarray:
        """float32 (H, W) in [0, 1]: how much of each pixel is drawn."""
        small = cv2.resize(self.canvas, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return small.astype(np.float32) / 255


def draw_wheel(drawing: Drawing, box: np.ndarray, stroke: float, rng: np.random.Generator) -> None:
    """Two rims, a hub and spokes, in an ellipse that fills the box."""
    centre, radii = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 - stroke
    turn = rng.uniform(0, 2 * np.pi)
    inner = rng.uniform(0.5, 0.7)
    for share in (1.0, inner):
        drawing.polyline(centre + share * radii * _circle(64), stroke, closed=True)
    spokes = int(rng.integers(7, 12))
    for direction in _circle(spokes, turn):
        drawing.polyline(np.stack([centre, centre + radii * direction]), stroke)
    drawing.disc(centre, 2 * stroke)
    between = _circle(spokes, turn + np.pi / spokes)
    drawing.anchors += list(centre + radii * between * (1 + inner) / 2)


def draw_fence(drawing: Drawing, box: np.ndarray, stroke: float, rng: np.random.Generator) -> None:
    """Posts with points and rails across them, slightly bent."""
    left, top, right, bottom = box
    posts = np.linspace(left + stroke, right - stroke, int(rng.integers(6, 10)))
    rails = top + (bottom - top) * np.array([0.2, rng.uniform(0.45, 0.6), 0.85])
    bend = rng.uniform(-0.08, 0.08) * (right - left)
    for x in posts:
        foot = x + bend
        drawing.polyline(np.array([[x, top + stroke], [foot, bottom - stroke]]), stroke)
    for y in rails:
        shift = bend * (y - top) / (bottom - top)
        drawing.polyline(np.array([[left + stroke + shift, y], [right - stroke + shift, y]]), stroke)
    for x in (posts[1:] + posts[:-1]) / 2:
        for y in (rails[1:] + rails[:-1]) / 2:
            drawing.anchors.append(np.array([x + bend * (y - top) / (bottom - top), y]))


def draw_net(drawing: Drawing, box: np.ndarray, stroke: float, rng: np.random.Generator) -> None:
    """A wavy grid."""
    size = box[2:] - box[:2]
    columns, rows = (int(n) for n in np.maximum(3, np.round(size / (6.5 * stroke))))
    wave, phase = 0.03 * size, rng.uniform(0, 2 * np.pi, 2)

    def place(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        shift = np.stack([np.sin(5 * v + phase[0]), np.sin(5 * u + phase[1])], axis=-1)
        return box[:2] + 0.06 * size + 0.88 * size * np.stack([u, v], axis=-1) + wave * shift

    steps = np.linspace(0, 1, 24)
    for u in np.linspace(0, 1, columns + 1):
        drawing.polyline(place(np.full_like(steps, u), steps), stroke)
    for v in np.linspace(0, 1, rows + 1):
        drawing.polyline(place(steps, np.full_like(steps, v)), stroke)
    for u in (np.arange(columns) + 0.5) / columns:
        for v in (np.arange(rows) + 0.5) / rows:
            drawing.anchors.append(place(np.array(u), np.array(v)))


def draw_branches(drawing: Drawing, box: np.ndarray, stroke: float, rng: np.random.Generator) -> None:
    """A trunk that forks into ever thinner branches; plates sit at their ends."""
    left, top, right, bottom = box
    size = np.array([right - left, bottom - top])

    def grow(start: np.ndarray, angle: float, length: float, width: float, depth: int) -> None:
        end = start + length * size * np.array([np.sin(angle), -np.cos(angle)])
        end = np.clip(end, box[:2] + stroke, box[2:] - stroke)
        drawing.polyline(np.stack([start, end]), width)
        if depth == 0:
            drawing.anchors.append(end)
            return
        for turn in (-1, 0, 1) if depth > 1 else (-1, 1):
            spread = turn * rng.uniform(0.4, 0.75) + rng.uniform(-0.1, 0.1)
            shorter, thinner = length * rng.uniform(0.68, 0.85), 0.7 * max(width, stroke)
            grow(end, angle + spread, shorter, thinner, depth - 1)

    grow(np.array([(left + right) / 2, bottom - stroke]), rng.uniform(-0.1, 0.1), 0.32, 2 * stroke, 3)


def draw_pierced_disc(drawing: Drawing, box: np.ndarray, stroke: float, rng: np.random.Generator) -> None:
    """Rings of holes in a round plate; a plate may close one of them."""
    centre, radius = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).min()) / 2
    drawing.disc(centre, radius)
    hole = 2.5 * stroke
    for ring in np.arange(0.0, radius - hole - 0.6 * stroke, 2 * hole + 0.8 * stroke):
        count = max(1, int(2 * np.pi * ring / (2 * hole + 0.9 * stroke)))
        for direction in _circle(count, rng.uniform(0, 2 * np.pi)):
            drawing.disc(centre + ring * direction, hole, value=0)
            drawing.anchors.append(centre + ring * direction)


def draw_distractor(drawing: Drawing, unit: float, rng: np.random.Generator) -> None:
    """One bent stroke or blob anywhere on the canvas, as wide as the strokes of objects."""
    start = rng.uniform(0, [drawing.width, drawing.height])
    if rng.random() < 0.25:
        drawing.disc(start, unit * rng.uniform(4, 10))
        return
    angle, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-0.25, 0.25)
    angles = angle + bend * np.arange(10)
    steps = unit * rng.uniform(5, 11) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    drawing.polyline(start + np.cumsum(steps, axis=0), unit * rng.uniform(4, 8))


def _circle(count: int, turn: float = 0.0) -> np.ndarray:
    """`count` unit vectors (count, 2), evenly spread from the angle `turn` on."""
    angles = turn + 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)
