"""Every odd file gives the declared pixels or one error with its name."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from odd_files import EXIF_TRANSPOSES, SHAPE, damaged_files, good_masks, grey, save
from PIL import Image

from pisam.data.reading import read_image, read_mask, read_pair
from pisam.errors import PisamError

RED = np.full((8, 12, 3), (200, 30, 40), np.uint8)


def test_masks_of_every_kind_mean_the_same_shape(tmp_path: Path) -> None:
    files = good_masks(tmp_path)
    assert len(files) >= 24
    wrong = [path.name for path in files if not np.array_equal(read_mask(path), SHAPE)]
    assert wrong == []


def test_a_jpeg_mask_is_right_but_for_its_edges(tmp_path: Path) -> None:
    mask = read_mask(save(grey(), tmp_path / "mask.jpg", quality=75))
    assert (mask != SHAPE).mean() < 0.02


def test_damaged_files_are_refused_by_name_as_image_and_as_mask(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path, message in damaged_files(tmp_path).items():
            for read in (read_image, read_mask):
                with pytest.raises(PisamError, match=message) as caught:
                    read(path)
                assert str(path) in str(caught.value)


@pytest.mark.parametrize("orientation", [1, *EXIF_TRANSPOSES])
def test_exif_orientation_of_photographs_is_applied(tmp_path: Path, orientation: int) -> None:
    stored = Image.fromarray(np.stack([grey()] * 3, axis=-1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    upright = read_image(tmp_path / "photo.jpg")[..., 0] > 127
    turns = {6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}
    transpose = turns.get(orientation, EXIF_TRANSPOSES.get(orientation))
    expected = stored if transpose is None else stored.transpose(transpose)
    assert upright.shape == (expected.height, expected.width)
    assert (upright != (np.array(expected)[..., 0] > 127)).mean() < 0.02


def test_image_modes_become_rgb(tmp_path: Path) -> None:
    photo = Image.fromarray(RED)
    files = {"rgb.png": photo, "palette.png": photo.quantize(8), "cmyk.jpg": photo.convert("CMYK")}
    for name, image in files.items():
        image.save(tmp_path / name)
        assert np.abs(read_image(tmp_path / name).astype(int) - RED).max() <= 6, name
    for name, mode in (("grey.png", "L"), ("grey.jpg", "L"), ("grey-alpha.png", "LA")):
        photo.convert(mode).save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert image.shape == RED.shape and np.ptp(image) <= 2, name


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 96).astype(np.uint16).reshape(8, 12)
    image = read_image(save(ramp, tmp_path / "ramp.png"))
    np.testing.assert_array_equal(image[..., 1], np.round(ramp / 257))


def test_transparent_pixels_are_seen_on_white(tmp_path: Path) -> None:
    alpha = np.zeros((8, 12), np.uint8)
    alpha[:, 6:] = 255
    image = read_image(save(np.dstack([RED, alpha]), tmp_path / "cut-out.png"))
    assert (image[:, :6] == 255).all() and (image[:, 6:] == RED[:, 6:]).all()


@pytest.mark.parametrize("value", [0, 90])
def test_empty_mask_is_refused(tmp_path: Path, value: int) -> None:
    path = save(np.full((8, 12), value, np.uint8), tmp_path / "empty.png")
    with pytest.raises(PisamError, match=r"empty.png: the mask is empty"):
        read_mask(path)


def test_values_beyond_sixteen_bits_are_refused(tmp_path: Path) -> None:
    path = save(np.full((8, 12), 70000, np.int32), tmp_path / "wide.tif")
    for read in (read_image, read_mask):
        with pytest.raises(PisamError, match=r"wide.tif: values"):
            read(path)


def test_sizes_are_compared_after_rotation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((32, 24, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(np.zeros((32, 24, 3), np.uint8)).save(tmp_path / "upright.jpg")
    mask = save(grey(), tmp_path / "mask.png")
    image, read = read_pair(tmp_path / "turned.jpg", mask)
    assert image.shape[:2] == read.shape == (24, 32)
    with pytest.raises(PisamError, match=r"mask.png: the mask is 32x24 but its image .*upright.jpg is 24x32"):
        read_pair(tmp_path / "upright.jpg", mask)


def test_real_photographs_are_read(shared: Path) -> None:
    for source in ("carrot_weed", "alphamatting"):
        folder = shared / "data" / source / "val"
        mask_path = sorted((folder / "masks").iterdir())[0]
        image_path = next((folder / "images").glob(f"{mask_path.stem}.*"))
        image, mask = read_pair(image_path, mask_path)
        assert image.dtype == np.uint8 and image.std() > 10
        np.testing.assert_array_equal(mask, np.array(Image.open(mask_path)) > 127)
