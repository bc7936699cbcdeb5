"""A second look at full resolution: windows cover the object, merge without seams, and see finer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pytest

from pisam.core.types import Click
from pisam.predictor.detail import Part, look_again, parts_of
from pisam.predictor.engine import Prompt
from pisam.predictor.interactive import InteractivePredictor

SIDE = 64


class Thresholds:
    """Sees exactly what its frame shows: bright pixels are object; a click turns nothing."""

    side = SIDE

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []

    def encode(self, frame: np.ndarray) -> np.ndarray:
        self.frames.append(frame)
        return frame

    def first(self, encoded: np.ndarray, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        return [encoded[..., 0].astype(np.float32) / 16 - 8 for _ in prompts]

    def after(self, state: np.ndarray, clicks: Sequence[Click]) -> np.ndarray:
        return state

    def logits(self, state: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return cv2.resize(state, size[::-1])

    def identity(self) -> str:
        return "thresholds"

    def to_arrays(self, encoded: np.ndarray) -> dict[str, np.ndarray]:
        return {"frame": encoded}

    def from_arrays(self, arrays: Mapping[str, np.ndarray], frame: np.ndarray) -> Any:
        return arrays["frame"]


def picture() -> tuple[np.ndarray, np.ndarray]:
    """A disc with thin rays, which a frame of 64 pixels cannot hold, in a picture of 480 x 640."""
    mask = np.zeros((480, 640), np.uint8)
    cv2.circle(mask, (300, 220), 50, 1, -1)
    for angle in np.linspace(0, 2 * np.pi, 9)[:-1]:
        end = int(300 + 95 * np.cos(angle)), int(220 + 95 * np.sin(angle))
        cv2.line(mask, (300, 220), end, 1, 3)
    return np.repeat(mask[..., None] * 255, 3, axis=2).astype(np.uint8), mask > 0


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


@pytest.fixture
def predictor() -> InteractivePredictor:
    predictor = InteractivePredictor(Thresholds())
    predictor.set_image(picture()[0])
    predictor.set_box((200, 120, 400, 320))
    return predictor


@pytest.mark.parametrize("tile", [None, 128, 100])
def test_thin_parts_are_found_by_a_second_look(predictor: InteractivePredictor, tile: int | None) -> None:
    _, true = picture()
    first, detailed = predictor.mask, predictor.detailed(tile=tile)
    assert detailed.shape == first.shape and detailed.dtype == bool
    assert iou(detailed, true) > iou(first, true) + 0.05
    np.testing.assert_array_equal(predictor.mask, first)  # the session stays as it is


def test_an_answer_that_agrees_leaves_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the second look says what the first said, nothing changes anywhere."""

    class Same(Thresholds):
        def logits(self, state: np.ndarray, size: tuple[int, int]) -> np.ndarray:
            return np.full(size, 3.0, np.float32)

    monkeypatch.setattr("pisam.predictor.detail.alike", lambda one, other: True)
    pixels, mask = picture()
    logits = np.where(mask, np.float32(3), np.float32(-3))
    for tile in (None, 96, 128):
        merged = look_again(Same(), pixels, logits, [], tile)
        np.testing.assert_allclose(merged[mask], 3, atol=1e-5)
        steps = np.abs(np.diff(merged - logits, axis=1))[~mask[:, 1:] & ~mask[:, :-1]]
        assert steps.max() < 1.5  # a seam would be a step of 6


def test_a_window_that_sees_another_object_changes_nothing() -> None:
    class Other(Thresholds):
        def logits(self, state: np.ndarray, size: tuple[int, int]) -> np.ndarray:
            return np.full(size, -3.0, np.float32)

    pixels, mask = picture()
    logits = np.where(mask, np.float32(3), np.float32(-3))
    for tile in (None, 96, 128):
        np.testing.assert_array_equal(look_again(Other(), pixels, logits, [], tile), logits)


@pytest.mark.parametrize("tile", [64, 100, 200, 5000])
def test_tiles_cover_the_object_and_stay_inside(tile: int) -> None:
    _, mask = picture()
    covered = np.zeros_like(mask)
    for part in parts_of(mask, [(5.0, 470.0, 1)], tile):
        assert part.left >= 0 and part.left + part.width <= 640 and part.top + part.height <= 480
        covered[part.place] = True
    assert covered[mask].all() and covered[470, 5]


def test_nothing_to_see_is_not_looked_at_again() -> None:
    engine = Thresholds()
    pixels, mask = picture()
    empty = np.full(mask.shape, -3, np.float32)
    assert look_again(engine, pixels, empty, []) is empty
    whole = np.where(np.indices(mask.shape)[1] > 2, np.float32(3), np.float32(-3))
    assert look_again(engine, pixels, whole, []) is whole  # as large as the image
    assert parts_of(mask & False, [], None) == [] and not engine.frames
    assert parts_of(mask & False, [(10.0, 20.0, 1)], None) == [Part(8, 18, 5, 5)]


def test_clicks_are_obeyed_in_detail_too(predictor: InteractivePredictor) -> None:
    predictor.click(10.5, 10.5, True)
    predictor.click(300.5, 220.5, False)
    detailed = predictor.detailed()
    assert detailed[10, 10] and not detailed[220, 300]


def test_what_cannot_be_seen_again_is_refused(predictor: InteractivePredictor, tmp_path: Any) -> None:
    for tile in (0, -5, 63, 100.5, "a"):
        with pytest.raises(ValueError, match="tile: expected 64 pixels or more"):
            predictor.detailed(tile=tile)  # type: ignore[arg-type]
    predictor.save(tmp_path / "image.npz")
    predictor.set_mask(picture()[1])
    with pytest.raises(ValueError, match="a given mask"):
        predictor.detailed()
    predictor.load(tmp_path / "image.npz")
    with pytest.raises(ValueError, match="detailed: expected a box first"):
        predictor.detailed()
    predictor.set_box((200, 120, 400, 320))
    with pytest.raises(ValueError, match="the pixels of a loaded image are not kept"):
        predictor.detailed()
