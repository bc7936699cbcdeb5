"""Colours and places of what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pisam.core.drawing import (
    BACKGROUND_CLICK,
    FALSE,
    FOREGROUND_CLICK,
    MISSED,
    as_hex,
    draw_clicks,
    error_regions,
    fitted,
    painted,
    shrunk_regions,
)


def test_every_pixel_is_right_or_missed_or_false() -> None:
    mask = np.array([[True, True], [False, False]])
    prediction = np.array([[True, False], [True, False]])
    picture = painted(error_regions(prediction, mask))
    assert [tuple(pixel) for pixel in picture.reshape(-1, 3)] == [(255, 255, 255), MISSED, FALSE, (0, 0, 0)]


def test_clicks_are_drawn_at_their_pixels_in_the_colour_of_their_label() -> None:
    picture = draw_clicks(Image.new("RGB", (60, 40)), [(5.5, 10.5, 1), (25.5, 15.5, 0)], scale=2, radius=4)
    assert picture.getpixel((11, 21)) == FOREGROUND_CLICK
    assert picture.getpixel((51, 31)) == BACKGROUND_CLICK
    assert picture.getpixel((11 + 4, 21)) == (255, 255, 255)
    assert picture.getpixel((11 + 6, 21)) == picture.getpixel((5, 10)) == (0, 0, 0)


def test_a_shrunk_pixel_is_what_covers_most_of_it() -> None:
    regions = np.zeros((4, 8), dtype=np.uint8)
    regions[:, 4:] = 3
    regions[0, 4] = regions[3, 7] = 1
    regions[:2, :2] = 2
    assert shrunk_regions(regions, (2, 1)).tolist() == [[0, 3]]
    assert shrunk_regions(regions, (4, 2)).tolist() == [[2, 0, 3, 3], [0, 0, 3, 3]]
    assert (shrunk_regions(regions, (8, 4)) == regions).all()


@pytest.mark.parametrize(
    ("size", "expected"), [((1600, 1200), (1024, 768)), ((30, 3000), (10, 1024)), ((800, 600), (800, 600))]
)
def test_large_pictures_fit_and_small_ones_stay(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted(*size, 1024) == expected


def test_colours_as_style_sheets_take_them() -> None:
    assert as_hex((0, 200, 15)) == "#00c80f"
