"""Masks averaged over blocks, exactly, from an array and from a file alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.odd_files import SHAPE, damaged_files, good_masks, grey, save
from pisam.core.errors import PisamError
from pisam.data.reading.reader import open_mask, read_image, read_mask, read_reduced
from pisam.data.reading.reduction import ALL, reduce_mask

REDUCTIONS = (1, 2, 4, 8)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(64, 96), (61, 93), (5, 3)])
def test_a_reduced_mask_is_the_exact_mean_of_blocks(reduction: int, shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).random(shape) < 0.3
    height, width = (-(-side // reduction) * reduction for side in shape)
    padded = np.pad(mask, ((0, height - shape[0]), (0, width - shape[1])), mode="edge")
    blocks = padded.reshape(height // reduction, reduction, width // reduction, reduction)
    np.testing.assert_array_equal(reduce_mask(mask, reduction), ALL * blocks.mean(axis=(1, 3)))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_files_of_every_kind_reduce_as_what_they_read_as(tmp_path: Path, reduction: int) -> None:
    for path in good_masks(tmp_path):
        shape, coverage = open_mask(path)
        assert shape == SHAPE.shape, path.name
        np.testing.assert_array_equal(coverage(reduction), reduce_mask(SHAPE, reduction), err_msg=path.name)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_large_masks_are_reduced_band_by_band_without_a_seam(tmp_path: Path, reduction: int) -> None:
    mask = np.random.default_rng(0).random((301, 77)) < 0.4
    path = save(np.where(mask, 200, 90).astype(np.uint8), tmp_path / "mask.png")
    _, coverage = open_mask(path)
    np.testing.assert_array_equal(coverage(reduction), reduce_mask(read_mask(path), reduction))


@pytest.mark.parametrize("value", [0, 90])
def test_an_empty_mask_is_refused_when_opened(tmp_path: Path, value: int) -> None:
    for name, array in (("grey", grey(value, value)), ("rgb", np.stack([grey(value, value)] * 3, axis=-1))):
        with pytest.raises(PisamError, match="the mask is empty"):
            open_mask(save(array, tmp_path / f"{name}.png"))


def blocks(image: np.ndarray, reduction: int) -> np.ndarray:
    """Means of blocks, the last rows and columns repeated."""
    height, width = (-side % reduction for side in image.shape[:2])
    padded = np.pad(image.astype(float), ((0, height), (0, width), (0, 0)), mode="edge")
    height, width = (side // reduction for side in padded.shape[:2])
    return padded.reshape(height, reduction, width, reduction, 3).mean(axis=(1, 3))


def photo(height: int, width: int) -> Image.Image:
    """Smooth colours without symmetry."""
    y, x = np.mgrid[:height, :width] / 40
    return Image.fromarray(
        np.stack(
            [128 + 90 * np.sin(x + y), 128 + 90 * np.cos(x), 128 + 90 * np.sin(y * 1.7)], axis=-1
        ).astype(np.uint8)
    )


@pytest.mark.parametrize("reduction", (2, 4, 8))
@pytest.mark.parametrize("size", [(160, 240), (151, 237)])
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_reduced_image_is_the_mean_of_the_upright_ones_blocks(
    tmp_path: Path, reduction: int, size: tuple[int, int], orientation: int, suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    photo(*size).save(path, exif=exif, quality=98, subsampling=0)
    upright = read_image(path)
    reduced, whole = read_reduced(path, reduction)
    assert whole == upright.shape[:2] == (size if orientation < 5 else size[::-1])
    assert reduced.shape[:2] == tuple(-(-side // reduction) for side in whole)
    # At the edges a JPEG's last block holds what its encoder repeated.
    difference = np.abs(reduced - blocks(upright, reduction))
    assert difference[:-1, :-1].max() < 4 and difference.mean() < 1


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_images_of_other_modes_are_reduced_too(tmp_path: Path, mode: str) -> None:
    image = photo(64, 80)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.quantize(200) if mode == "P" else image.convert(mode)
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    image.save(path)
    reduced, _ = read_reduced(path, 4)
    assert np.abs(reduced - blocks(read_image(path), 4)).max() < 4


@pytest.mark.parametrize("reduction", (2, 8))
def test_damaged_images_are_refused_when_reduced_too(tmp_path: Path, reduction: int) -> None:
    for path, message in damaged_files(tmp_path).items():
        with pytest.raises(PisamError, match=message) as caught:
            read_reduced(path, reduction)
        assert str(path) in str(caught.value)


def test_a_large_truncated_jpeg_is_refused_when_reduced(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    photo(600, 800).save(whole, quality=95)
    data = whole.read_bytes()
    for share in (0.3, 0.9, 0.999):
        cut = tmp_path / "cut.jpg"
        cut.write_bytes(data[: int(share * len(data))])
        with pytest.raises(PisamError, match=r"cut.jpg: damaged or truncated"):
            read_reduced(cut, 4)


def test_pictures_smaller_than_a_block(tmp_path: Path) -> None:
    for size in ((3, 40), (1, 1), (7, 5)):
        path = tmp_path / "small.jpg"
        photo(*size).save(path)
        reduced, whole = read_reduced(path, 8)
        assert whole == size and reduced.shape[:2] == tuple(-(-side // 8) for side in size)
