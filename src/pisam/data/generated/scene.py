"""One generated image and mask: a thin object among look-alikes, where colour alone does not decide.

What can be told apart by what:
- the object and its distractors have the same colours, but the object's material has a fine weave, the
  distractors' a coarse grain: local texture decides;
- plates are smooth and lighter than both. A random line through their middle parts them: those on one side
  are part of the object, those on the other only lie on it. Nothing in the image tells the sides apart, nor
  does the label of a click alone; a click on a plate does, for it and for its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from pisam.core.types import BoolArray, UInt8Array

# Shapes are drawn at this multiple of the final size and averaged down, for smooth edges.
OVERSAMPLE = 2


@dataclass
class Drawing:
    """White shapes on a black canvas, in float pixels (x, y) of the final image."""

    # height, width: of the final image
    height: int
    width: int
    canvas: UInt8Array = field(init=False)
    # centres of places in or at the structure where a plate may sit
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


# The knobs of difficulty. Lengths are in pixels of a 256-pixel network frame.
STROKE = (6.0, 8.5)  # width of the object's strokes
COLOUR_CONTRAST = 75.0  # distance between object and background colour, in grey levels
WEAVE_CONTRAST = 40.0  # amplitude of material textures
WEAVE_PERIOD = 4.5  # of the object's weave
GRAIN_PERIOD = 16.0  # of the distractors' grain
DISTRACTOR_SHARE = 0.36  # distractor area within the box, relative to strokes and plates
PLATE_SHARE = 0.45  # area of all plates, relative to the strokes
PLATE_RADIUS = (12.5, 16.5)
PLATE_TINT = 60.0  # how much lighter than the object a plate is, in grey levels

Draw = Callable[[Drawing, np.ndarray, float, np.random.Generator], None]


def make_scene(draw: Draw, image_size: int, rng: np.random.Generator) -> tuple[UInt8Array, BoolArray]:
    """An image and its mask, somewhat larger than the network frame and rarely square.

    Args:
        draw: one of the structures in `shapes`.
        image_size: side of the network frame that the images are made for.
        rng: all randomness.

    Returns:
        uint8 (H, W, 3) RGB and bool (H, W).
    """
    long_side = image_size * rng.uniform(1.25, 1.55)
    short_side = long_side * rng.uniform(0.68, 1.0)
    sides = (long_side, short_side) if rng.random() < 0.5 else (short_side, long_side)
    width, height = (round(side) for side in sides)
    unit = (width * height) ** 0.5 / 256

    structure = Drawing(height, width)
    draw(structure, _object_box(width, height, rng), unit * rng.uniform(*STROKE), rng)
    strokes = structure.coverage()
    plates, plates_of_object = _plates(structure, strokes, unit, rng)
    distractors = _distractors(np.maximum(strokes, plates) >= 0.5, unit, rng)

    weave, grain = _weave(height, width, unit, rng), _noise(height, width, GRAIN_PERIOD * unit, rng)
    image, colour = _background(height, width, unit, rng)
    materials = (
        (distractors, WEAVE_CONTRAST * grain),
        (strokes, WEAVE_CONTRAST * weave),
        (plates, PLATE_TINT + 0.3 * WEAVE_CONTRAST * grain),
    )
    for coverage, texture in materials:
        change = colour + texture[..., None]
        change -= image  # in place: new arrays of this size take longer than the arithmetic
        change *= coverage[..., None]
        image += change
    # A plate that is no part of the object hides the strokes under it.
    mask = np.maximum(strokes * (1 - plates), plates_of_object) >= 0.5
    image += rng.normal(0, 4, image.shape)
    return np.clip(np.rint(image, out=image), 0, 255, out=image).astype(np.uint8), mask


def _object_box(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    size = np.array([width, height]) * rng.uniform(0.62, 0.85, 2)
    corner = rng.uniform(0.02, 0.98, 2) * (np.array([width, height]) - size)
    return np.concatenate([corner, corner + size])


def _plates(
    structure: Drawing, strokes: np.ndarray, unit: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage of all plates, and of those that are part of the object."""
    room = PLATE_SHARE * strokes.sum()
    centres: list[np.ndarray] = []
    radii: list[float] = []
    for index in rng.permutation(len(structure.anchors)):
        centre, radius = structure.anchors[index], unit * rng.uniform(*PLATE_RADIUS)
        if any(np.hypot(*(centre - other)) < 2.2 * unit * PLATE_RADIUS[1] for other in centres):
            continue  # plates that touch are hard to tell from one larger thing
        room -= np.pi * radius**2
        if room < 0:
            break
        centres.append(centre)
        radii.append(radius)
    every, of_object = (Drawing(structure.height, structure.width) for _ in range(2))
    for centre, radius, belongs in zip(centres, radii, _one_side(centres, rng), strict=True):
        every.disc(centre, radius)
        if belongs:
            of_object.disc(centre, radius)
    return every.coverage(), of_object.coverage()


def _one_side(points: list[np.ndarray], rng: np.random.Generator) -> list[bool]:
    """Find the points (x, y) on one side of a line in a random direction, about a pixel from their mean."""
    angle, offset = rng.uniform(0, 2 * np.pi), rng.normal()  # off it, so that a lone point has its chance
    normal = np.array([np.cos(angle), np.sin(angle)])
    middle = sum(points) / max(1, len(points))
    return [bool((point - middle) @ normal > offset) for point in points]


def _distractors(shape: BoolArray, unit: float, rng: np.random.Generator) -> np.ndarray:
    """Coverage of distractors, as dense outside of the shape's box as inside."""
    height, width = shape.shape
    rows, columns = np.flatnonzero(shape.any(axis=1)), np.flatnonzero(shape.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    wanted = DISTRACTOR_SHARE * shape.sum()
    drawing = Drawing(height, width)
    while True:
        for _ in range(5):
            draw_distractor(drawing, unit, rng)
        coverage = drawing.coverage()
        if (coverage[box] * ~shape[box]).sum() >= min(wanted, 0.7 * (~shape[box]).sum()):
            return coverage


def _background(
    height: int, width: int, unit: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A mottled background float (H, W, 3) and a material colour (3,) that stands out from it."""
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    middle = rng.uniform(100, 155, 3)
    base, colour = middle - COLOUR_CONTRAST / 2 * direction, middle + COLOUR_CONTRAST / 2 * direction
    tint = rng.normal(0, 14, 3)
    image = base + _noise(height, width, 50 * unit, rng)[..., None] * tint
    for amplitude, period in ((10, 12), (7, 3)):
        image += amplitude * _noise(height, width, period * unit, rng)[..., None]
    return image, colour


def _noise(height: int, width: int, period: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise (H, W) of unit variance."""
    grid = rng.normal(size=(int(height / period) + 3, int(width / period) + 3)).astype(np.float32)
    noise = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    result: np.ndarray = (noise - noise.mean()) / noise.std()
    return result


def _weave(height: int, width: int, unit: float, rng: np.random.Generator) -> np.ndarray:
    """Crossed waves (H, W) of unit variance; the same when mirrored, for training flips images."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    phase = rng.uniform(0, 2 * np.pi, 2)
    waves = np.cos(2 * np.pi * x / (WEAVE_PERIOD * unit) + phase[0])
    waves = waves + np.cos(2 * np.pi * y / (WEAVE_PERIOD * unit) + phase[1])
    result: np.ndarray = waves.astype(np.float32)
    return result
