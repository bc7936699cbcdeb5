"""Predictions on disk are exactly what was scored, under names that real data sets have."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.png import chunk
from pisam.core.errors import PisamError
from pisam.evaluation.predictions import are_binary, match_predictions, read_prediction, save_prediction

LEVELS = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
ODD = "4#Architecture.v2#12.final"


def test_saved_levels_come_back_under_their_name(tmp_path: Path) -> None:
    path = save_prediction(LEVELS, tmp_path, "DIS5K-TE1", ODD)
    assert path == tmp_path / "DIS5K-TE1" / f"{ODD}.png"
    assert [p.name for p in path.parent.iterdir()] == [f"{ODD}.png"]
    np.testing.assert_array_equal(read_prediction(path), LEVELS)


def test_a_mask_reads_back_as_a_prediction_of_its_size(tmp_path: Path) -> None:
    mask = LEVELS > 127
    path = save_prediction(mask, tmp_path, "val", "a#b.c")
    assert np.array_equal(read_prediction(path), mask * np.uint8(255))


def test_a_4k_mask_is_small(tmp_path: Path) -> None:
    mask = np.zeros((2160, 3840), dtype=bool)
    mask[500:1500, ::7] = True
    assert save_prediction(mask, tmp_path, "val", "image").stat().st_size < 100_000


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_grey_in_other_clothes_is_read_as_it_is(mode: str, tmp_path: Path) -> None:
    Image.fromarray(LEVELS).convert(mode).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_prediction(tmp_path / "p.png"), LEVELS)


def test_faint_predictions_are_not_stretched(tmp_path: Path) -> None:
    """A mask of 0 and 1 means 0 and 255; a prediction of 0 and 1 means nearly nothing."""
    Image.fromarray(LEVELS // 128).save(tmp_path / "p.png")
    assert read_prediction(tmp_path / "p.png").max() == 1


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(LEVELS.astype(np.uint16) * 257),
        Image.fromarray(np.dstack([LEVELS, LEVELS, 255 - LEVELS])),
        Image.fromarray(np.dstack([LEVELS, LEVELS, LEVELS, LEVELS])),
    ],
    ids=["16 bit", "colour", "alpha"],
)
def test_what_is_no_8_bit_grey_is_refused_by_name(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "p.png")
    with pytest.raises(PisamError, match=r"p\.png: a prediction of mode .* expected 8-bit grey"):
        read_prediction(tmp_path / "p.png")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three predictions and their masks."""
    for folder in ("predictions", "masks"):
        for stem in ("a", ODD, "c"):
            save_prediction(LEVELS, tmp_path, folder, stem)
    return tmp_path / "predictions", tmp_path / "masks"


def test_files_are_matched_by_stem(folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    (folders[0] / "Thumbs.db").touch()
    (folders[1] / "more").mkdir()
    (folders[0] / "a.png").rename(folders[0] / "a.bmp")
    matched = match_predictions(*folders)
    assert [stem for stem, _, _ in matched] == [ODD, "a", "c"]
    assert matched[1][1:] == (folders[0] / "a.bmp", folders[1] / "a.png")
    left_out = [f"predictions: {folders[0]}: 1 files of .db left out"]
    left_out.append(f"masks: {folders[1]}: 1 subfolders left out")
    assert caplog.messages == left_out


@pytest.mark.parametrize("damage", ["missing", "extra", "both", "twice", "empty", "no folder", "size"])
def test_folders_that_do_not_fit_are_refused_by_name(damage: str, folders: tuple[Path, Path]) -> None:
    predictions, masks = folders
    message = {
        "missing": r"1 masks without prediction \(a\)",
        "extra": r"1 predictions without mask \(a\)",
        "both": r"1 masks without prediction \(c\); 1 predictions without mask \(a\)",
        "twice": r"a\.bmp and .*a\.png have the same stem",
        "empty": r"masks: no picture in",
        "no folder": r"predictions: no folder",
        "size": r"1 of other sizes \(a\)",
    }[damage]
    match damage:
        case "missing":
            (predictions / "a.png").unlink()
        case "extra":
            (masks / "a.png").unlink()
        case "both":
            (masks / "a.png").unlink()
            (predictions / "c.png").unlink()
        case "twice":
            (predictions / "a.bmp").write_bytes((predictions / "a.png").read_bytes())
        case "empty":
            for file in masks.iterdir():
                file.unlink()
        case "no folder":
            predictions = predictions / "x"
        case _:
            Image.fromarray(LEVELS[:20]).save(predictions / "a.png")
    with pytest.raises(PisamError, match=message):
        match_predictions(predictions, masks)


def test_a_folder_of_0_and_1_is_one_of_masks(tmp_path: Path) -> None:
    """Of one file alone nobody could tell: a soft prediction may reach no more than 1 of 255."""
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for file, levels in zip(files, (LEVELS // 128, LEVELS * 0, LEVELS), strict=True):
        Image.fromarray(levels).save(file)
    assert are_binary(files[:2]) and not are_binary(files) and not are_binary(files[1:2])


def test_masks_of_two_kinds_in_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for file, levels in zip(files, (LEVELS // 128, LEVELS * 0, LEVELS // 128 * 255), strict=True):
        Image.fromarray(levels).save(file)
    for order in (files, files[::-1]):
        with pytest.raises(PisamError, match=r"a\.png holds 0 and 1, .*c\.png 0 and 255"):
            are_binary(order)
    assert not are_binary(files[1:])


def header(width: int, height: int, more: bytes = b"") -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + more


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "not an image that can be read"),
        (b"junk" * 20, "not an image that can be read"),
        (b"DDS |\0\0\0" + b"\xff" * 200, "not an image that can be read"),
        (b"FTEX" + b"\xff" * 60, "not an image that can be read"),
        (header(200_000, 200_000), "claims more pixels than expected|not an image"),
        (header(30, 40, chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 5_000_000))), "damaged or truncated"),
    ],
    ids=["empty", "junk", "dds", "ftex", "bomb", "text"],
)
@pytest.mark.parametrize("part", [0, 1])
def test_what_is_no_picture_is_named_for_what_it_is(
    contents: bytes, message: str, part: int, folders: tuple[Path, Path]
) -> None:
    (folders[part] / "a.png").write_bytes(contents)
    with pytest.raises(PisamError, match=message) as error:
        match_predictions(*folders)
    assert str(folders[part] / "a.png") in str(error.value) and "\n" not in str(error.value)


def test_a_transparent_colour_is_no_prediction(tmp_path: Path) -> None:
    Image.fromarray(LEVELS).save(tmp_path / "p.png", transparency=int(LEVELS[0, 0]))
    with pytest.raises(PisamError, match="expected 8-bit grey"):
        read_prediction(tmp_path / "p.png")
