"""Every format through every reader gives one array; what no reader can know is refused by all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.odd_files import EXIF_TRANSPOSES, SHAPE, exif_of, good_masks, grey, wrong_masks
from helpers.png import write_png
from pisam.core.errors import PisamError
from pisam.data.reading.reader import (
    ALL,
    open_mask,
    read_coverage,
    read_image,
    read_mask,
    read_reduced,
    reduce_mask,
)
from pisam.data.reading.targets import open_target, read_ids, read_labels
from pisam.data.sources.pairs import Pair
from pisam.evaluation.predictions import read_prediction

Reader = Callable[[Path], np.ndarray]

FULL = SHAPE.astype(np.uint16) * 65535


def pair_of(path: Path, ids: bool = False) -> Pair:
    return Pair("a", path, path, ids=ids)


MASK_READERS: dict[str, Reader] = {
    "read_mask": read_mask,
    "read_coverage": lambda path: read_coverage(path).values > 127,
    "open_mask": lambda path: open_mask(path)[1](1) == ALL,
    "read_labels": lambda path: read_labels(pair_of(path)).mask,
    "open_target": lambda path: open_target(pair_of(path))[1](1) == ALL,
}


def grey_files(folder: Path) -> list[Path]:
    """Files of `SHAPE` in black and white, in every depth and either sense of grey."""
    files = [write_png(folder / f"grey-{bits}.png", SHAPE * (2**bits - 1), bits) for bits in (1, 2, 4, 8, 16)]
    files += [
        write_png(folder / f"transparent-{bits}.png", SHAPE * (2**bits - 1), bits, transparent=0)
        for bits in (1, 2, 4, 8, 16)
    ]
    eight = grey()
    tiffs = {
        "black-is-zero-8": (eight, {}),
        "white-is-zero-1": (~SHAPE, {"photometric": "miniswhite"}),
        "white-is-zero-8": (255 - eight, {"photometric": "miniswhite"}),
        "white-is-zero-16": (65535 - FULL, {"photometric": "miniswhite"}),
        "big-endian-16": (FULL, {"byteorder": ">"}),
        "signed-16": (SHAPE.astype(np.int16) * 255, {}),
        "wide-32": (FULL.astype(np.int32), {}),
    }
    for name, (values, options) in tiffs.items():
        tifffile.imwrite(folder / f"{name}.tif", values, **options)
        files.append(folder / f"{name}.tif")
    for orientation, transpose in EXIF_TRANSPOSES.items():
        stored = Image.fromarray(FULL).transpose(transpose)
        stored.save(folder / f"turned-{orientation}.png", exif=exif_of(orientation))
        files.append(folder / f"turned-{orientation}.png")
    return files


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("masks")
    return good_masks(folder) + grey_files(folder)


@pytest.mark.parametrize("reader", MASK_READERS)
def test_masks(masks: list[Path], reader: str) -> None:
    wrong = {}
    for path in masks:
        mask = MASK_READERS[reader](path)
        if not np.array_equal(mask, SHAPE):
            wrong[path.name] = mask.shape
    assert len(masks) >= 60 and wrong == {}


@pytest.mark.parametrize("reader", [name for name in MASK_READERS if name != "read_coverage"])
def test_no_reader_takes_what_another_refuses(tmp_path: Path, reader: str) -> None:
    for path, message in wrong_masks(tmp_path).items():
        with pytest.raises(PisamError, match=message):
            MASK_READERS[reader](path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_least_value_of_every_depth_is_object_where_it_is_the_only_one(tmp_path: Path, bits: int) -> None:
    path = write_png(tmp_path / "a.png", SHAPE.astype(int), bits)
    for read in MASK_READERS.values():
        np.testing.assert_array_equal(read(path), SHAPE)
    np.testing.assert_array_equal(read_ids(path), SHAPE)
    read_labels(pair_of(path, ids=True))


@pytest.mark.parametrize("colours", [3, 4])
@pytest.mark.parametrize("orientation", [1, *EXIF_TRANSPOSES])
def test_colour_of_sixteen_bits(tmp_path: Path, colours: int, orientation: int) -> None:
    """Of PNG and TIFF, either order of bytes, packed or not: rounded as grey is."""
    values = np.random.default_rng(0).integers(0, 65536, (9, 13, colours), dtype=np.uint16)
    values[..., 3:] = 65535
    expected = np.round(values[..., :3] / 257).astype(np.uint8)
    stored = expected_turned = values
    if orientation > 1:
        stored = np.dstack([turned(values[..., c], orientation) for c in range(colours)])
        expected_turned = expected
    path = write_png(tmp_path / "a.png", stored, 16, exif=exif_of(orientation))
    np.testing.assert_array_equal(read_image(path), expected)
    assert expected_turned.shape[:2] == read_image(path).shape[:2]
    if orientation == 1:
        for name, options in {"le": {}, "be": {"byteorder": ">"}, "zip": {"compression": "deflate"}}.items():
            extra = {"extrasamples": ["unassalpha"]} if colours == 4 else {}
            tifffile.imwrite(tmp_path / f"{name}.tif", values, photometric="rgb", **options, **extra)
            np.testing.assert_array_equal(read_image(tmp_path / f"{name}.tif"), expected)


def turned(values: np.ndarray, orientation: int) -> np.ndarray:
    return np.array(Image.fromarray(values).transpose(EXIF_TRANSPOSES[orientation]))


def test_eight_bits_in_sixteen_are_eight(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    for name, stored in (("colour", values), ("grey", values[..., 0])):
        path = write_png(tmp_path / f"{name}.png", stored.astype(np.uint16), 16)
        np.testing.assert_array_equal(read_image(path)[..., 0], values[..., 0])
        tifffile.imwrite(tmp_path / f"{name}.tif", stored.astype(np.uint16))
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.tif")[..., 0], values[..., 0])
    mask = write_png(tmp_path / "mask.png", np.dstack([grey().astype(np.uint16)] * 3), 16)
    np.testing.assert_array_equal(read_mask(mask), SHAPE)


def test_signed_bytes_below_0_are_refused_and_others_taken(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", SHAPE.astype(np.int8))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), SHAPE)
    tifffile.imwrite(tmp_path / "a.tif", -SHAPE.astype(np.int8))
    with pytest.raises(PisamError, match=r"a\.tif: values below 0"):
        read_mask(tmp_path / "a.tif")


def test_planes_of_sixteen_bits_are_refused(tmp_path: Path) -> None:
    """Pillow would read their bytes as pixels."""
    values = np.random.default_rng(0).integers(0, 65536, (3, 9, 13), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", planarconfig="separate")
    with pytest.raises(PisamError, match=r"a\.tif: 16-bit pixels stored as R; expected RGB"):
        read_image(tmp_path / "a.tif")


WRITTEN = {  # the modes in which Pillow writes a format
    "png": ("1", "L", "P", "RGB", "RGBA", "LA", "I;16"),
    "tif": ("1", "L", "P", "RGB", "RGBA", "CMYK", "LA", "I;16"),
    "jpg": ("1", "L", "RGB", "CMYK"),
    "bmp": ("1", "L", "P", "RGB", "RGBA"),
    "webp": ("1", "L", "P", "RGB", "RGBA", "CMYK", "LA", "I;16"),
}


@pytest.mark.parametrize(("suffix", "mode"), [(s, mode) for s, modes in WRITTEN.items() for mode in modes])
@pytest.mark.parametrize("orientation", [1, 6])
def test_images_reduced_and_whole(tmp_path: Path, suffix: str, mode: str, orientation: int) -> None:
    """The reduced image is the mean of the whole one, and both know the same size."""
    rows, columns = np.indices((24, 40))
    ramp = np.stack([6 * columns, 10 * rows, 3 * (rows + columns)], axis=-1).astype(np.uint8)
    picture = Image.fromarray(ramp).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = Image.fromarray(np.array(picture).astype(np.uint16) * 257)
    path = tmp_path / f"a.{suffix}"
    options = {"exif": exif_of(orientation)} if suffix != "bmp" else {}
    picture.save(path, **options)
    whole = read_image(path)
    assert whole.dtype == np.uint8 and whole.ndim == 3
    for reduction in (2, 4):
        reduced, size = read_reduced(path, reduction)
        assert size == whole.shape[:2]
        blocks = whole.reshape(size[0] // reduction, reduction, size[1] // reduction, reduction, 3)
        means = blocks.mean(axis=(1, 3))
        assert np.abs(reduced - means).max() <= (12 if suffix == "jpg" else 1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_predictions_of_every_depth(tmp_path: Path, bits: int) -> None:
    levels = np.random.default_rng(0).integers(0, 2**bits, (9, 13))
    path = write_png(tmp_path / "a.png", levels, bits)
    np.testing.assert_array_equal(read_prediction(path), levels * (255 // (2**bits - 1)))


def test_reduced_masks_are_those_of_the_whole(masks: list[Path]) -> None:
    for path in masks:
        np.testing.assert_array_equal(open_mask(path)[1](4), reduce_mask(SHAPE, 4), err_msg=path.name)
