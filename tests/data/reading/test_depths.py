"""Files whose bits Pillow misjudges: bitmaps of few colours, TIFF of 12 bits, predictions of 2 and 4."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.png import write_png
from pisam.core.errors import PisamError
from pisam.data.reading.reader import read_image, read_mask
from pisam.data.reading.targets import read_ids
from pisam.evaluation.predictions import are_binary, read_prediction

SHAPE = np.zeros((6, 8), bool)
SHAPE[1:4, 2:7] = True


def write_bitmap(path: Path, indices: np.ndarray, greys: list[int], bits: int) -> Path:
    """Write indices into a palette of greys, `bits` each, rows padded to four bytes."""
    rows = b"".join(packed(row, bits).ljust(-(-len(row) * bits // 32) * 4, b"\0") for row in indices[::-1])
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in greys)
    height, width = indices.shape
    start = 54 + len(palette)
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(rows), 0, 0, len(greys), 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + sizes + palette + rows)
    return path


def write_tiff(path: Path, values: np.ndarray) -> Path:
    """Write grey of 12 bits, the only depth between 8 and 16 that Pillow opens, in one strip."""
    data = b"".join(packed(row, 12) for row in values)
    height, width = values.shape
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height}
    tags[279] = len(data)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    path.write_bytes(head + data + struct.pack("<H", len(tags)) + entries + bytes(4))
    return path


def packed(row: np.ndarray, bits: int) -> bytes:
    """The values of a row, the first bit the highest, up to a whole byte."""
    digits = "".join(f"{value:0{bits}b}" for value in row.tolist())
    return int(digits.ljust(-(-len(digits) // 8) * 8, "0"), 2).to_bytes(-(-len(digits) // 8))


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_a_bitmap_of_two_greys_is_read_with_the_bits_it_has(tmp_path: Path, bits: int) -> None:
    path = write_bitmap(tmp_path / "a.bmp", SHAPE.astype(int), [0, 255], bits)
    np.testing.assert_array_equal(read_mask(path), SHAPE)
    np.testing.assert_array_equal(read_prediction(path), SHAPE * 255)
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))


def test_a_bitmap_of_sixteen_dark_greys_is_no_damaged_one(tmp_path: Path) -> None:
    values = np.arange(48).reshape(6, 8) % 16
    path = write_bitmap(tmp_path / "a.bmp", values, list(range(16)), 4)
    np.testing.assert_array_equal(read_prediction(path), values)


def test_values_of_twelve_bits_are_the_files_own(tmp_path: Path) -> None:
    def file(values: np.ndarray) -> Path:
        return write_tiff(tmp_path / "a.tif", np.where(np.arange(6)[:, None] == 5, 4095, values))

    np.testing.assert_array_equal(read_mask(file(SHAPE.astype(int)), 4095), SHAPE)  # the last row is ignored
    np.testing.assert_array_equal(read_ids(file(SHAPE * 7 + 2), 4095)[:5], SHAPE[:5] * 7 + 2)
    with pytest.raises(PisamError, match="value 4095 beside 1 alone may mark what to ignore"):
        read_mask(file(SHAPE.astype(int)))
    ramp = np.linspace(0, 4095, 48).astype(int).reshape(6, 8)
    image = read_image(write_tiff(tmp_path / "ramp.tif", ramp))
    assert np.abs(image[..., 0] - ramp * 255 / 4095).max() < 1


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_predictions_of_0_and_1_are_known_at_every_depth(tmp_path: Path, bits: int) -> None:
    path = write_png(tmp_path / "a.png", SHAPE.astype(int), bits)
    assert are_binary([path])
    np.testing.assert_array_equal(read_prediction(path), SHAPE)
