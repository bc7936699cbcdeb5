"""A line decides which plates are part of the object, and nothing in the picture tells it."""

from __future__ import annotations

import numpy as np
import pytest

import pisam.data.generated.scene as scene
from pisam.data.generated.sets import FAMILIES

STRUCTURES = {draw.__name__: draw for family in FAMILIES.values() for draw in family}


class Sides:
    """Stands in for the decision: takes what the real one says, or its opposite, and remembers it."""

    def __init__(self, *, exchanged: bool) -> None:
        self.decide, self.exchanged = scene._one_side, exchanged
        self.centres = np.empty((0, 2))
        self.belongs = np.empty(0, bool)

    def __call__(self, points: list[np.ndarray], rng: np.random.Generator) -> list[bool]:
        self.centres = np.array(points)
        self.belongs = np.array(self.decide(points, rng)) ^ self.exchanged
        return list(self.belongs)


def draw_scene(
    structure: str, seed: int, monkeypatch: pytest.MonkeyPatch, *, exchanged: bool = False
) -> tuple[np.ndarray, np.ndarray, Sides]:
    sides = Sides(exchanged=exchanged)
    with monkeypatch.context() as patched:
        patched.setattr(scene, "_one_side", sides)
        image, mask = scene.make_scene(STRUCTURES[structure], 256, np.random.default_rng(seed))
    return image, mask, sides


def at(mask: np.ndarray, centres: np.ndarray) -> np.ndarray:
    columns, rows = centres.astype(int).T
    return mask[rows, columns]


def a_line_parts(these: np.ndarray, those: np.ndarray) -> bool:
    angles = np.linspace(0, 2 * np.pi, 721)
    normals = np.stack([np.cos(angles), np.sin(angles)])
    return bool(((these @ normals).min(axis=0) > (those @ normals).max(axis=0)).any())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_plates_on_one_side_of_a_line_are_in_the_mask_and_the_others_are_not(
    structure: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, mask, sides = draw_scene(structure, seed, monkeypatch)
    inside = at(mask, sides.centres)
    assert (inside == sides.belongs).all()
    assert inside.any() and not inside.all()
    assert a_line_parts(sides.centres[inside], sides.centres[~inside])


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_picture_is_the_same_whichever_side_belongs(
    structure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, mask, sides = draw_scene(structure, 0, monkeypatch)
    image_exchanged, mask_exchanged, _ = draw_scene(structure, 0, monkeypatch, exchanged=True)
    assert (image == image_exchanged).all()
    assert (at(mask, sides.centres) != at(mask_exchanged, sides.centres)).all()
    differ = np.argwhere(mask != mask_exchanged)[:, ::-1] + 0.5
    radius = scene.PLATE_RADIUS[1] * (mask.size**0.5 / 256)
    distances = np.linalg.norm(differ[:, None] - sides.centres, axis=2).min(axis=1)
    assert distances.max() < radius + 1


def test_every_plate_belongs_in_half_of_all_draws() -> None:
    points = [np.array(point) for point in ((10.0, 20.0), (200.0, 30.0), (90.0, 180.0), (60.0, 60.0))]
    rng = np.random.default_rng(0)
    share = np.mean([scene._one_side(points, rng) for _ in range(1000)], axis=0)
    assert (abs(share - 0.5) < 0.06).all()
