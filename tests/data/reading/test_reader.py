"""Every odd file gives the declared pixels or one error with its name."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from helpers.odd_files import (
    EXIF_TRANSPOSES,
    SHAPE,
    damaged_files,
    exif_of,
    good_masks,
    grey,
    save,
    wrong_masks,
)
from pisam.core.errors import PisamError
from pisam.data.dataset import PairDataset
from pisam.data.reading.reader import (
    ALL,
    check_sizes,
    open_mask,
    read_image,
    read_mask,
    read_reduced,
    reduce_mask,
)
from pisam.data.sources.pairs import Pair
from pisam.data.sources.rows import Source
from pisam.data.transforms import frame_for_validation

RED = np.full((8, 12, 3), (200, 30, 40), np.uint8)


def test_masks_of_every_kind_mean_the_same_shape(tmp_path: Path) -> None:
    files = good_masks(tmp_path)
    assert len(files) >= 24
    wrong = [path.name for path in files if not np.array_equal(read_mask(path), SHAPE)]
    assert wrong == []


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_jpeg_mask_is_right_but_for_its_edges(tmp_path: Path, mode: str) -> None:
    Image.fromarray(np.stack([grey()] * 3, axis=-1)).convert(mode).save(tmp_path / "mask.jpg", quality=75)
    mask = read_mask(tmp_path / "mask.jpg")
    assert (mask != SHAPE).mean() < 0.02


def assert_refused(read: Callable[[Path], object], path: Path, message: str) -> None:
    """One error that names the file, what was expected and what to do."""
    with pytest.raises(PisamError, match=message) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "expected" in text and "; " in text and "\n" not in text


def test_damaged_files_are_refused_by_name_as_image_and_as_mask(tmp_path: Path) -> None:
    files = damaged_files(tmp_path)
    assert len(files) >= 24
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path, message in files.items():
            for read in (read_image, read_mask):
                assert_refused(read, path, message)


def test_what_cannot_be_a_mask_is_refused_by_name(tmp_path: Path) -> None:
    for path, message in wrong_masks(tmp_path).items():
        assert_refused(read_mask, path, message)


def test_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(grey(), tmp_path / "secret.png")

    def refuse(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # A test that runs as root may read everything.
    monkeypatch.setattr(Path, "open", refuse)
    assert_refused(read_image, path, "may not be read")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("side", ["image", "mask"])
def test_samples_of_every_odd_file_come_right_from_a_worker_or_name_it(
    tmp_path: Path, side: str, training: bool
) -> None:
    good_image = save(np.stack([grey()] * 3, axis=-1), tmp_path / "good.png")
    good_mask = save(grey(), tmp_path / "good-mask.png")
    (tmp_path / "odd").mkdir()
    refused = damaged_files(tmp_path / "odd")
    if side == "mask":
        refused |= wrong_masks(tmp_path / "odd")
    accepted = good_masks(tmp_path / "odd") if side == "mask" else []
    pairs = [(good_image, path) if side == "mask" else (path, good_mask) for path in (*refused, *accepted)]
    source = Source("odd", tmp_path, tmp_path)
    data = PairDataset([], image_size=32, training=training, flip=False, jitter=None)
    data.items = [(source, Pair(str(number), *pair)) for number, pair in enumerate(pairs)]
    # A worker that failed is gone, so what it raised is handed on as text, whole.
    told = list(DataLoader(_Told(data), batch_size=None, num_workers=1))
    for (path, message), text in zip(refused.items(), told, strict=False):
        assert re.search(message, text) and text.startswith(f"{path}: "), path
    assert [text for text in told[len(refused) :] if text != "right"] == []


class _Told(Dataset[str]):
    """What the sample of each pair comes to, in words."""

    def __init__(self, data: PairDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> str:
        try:
            sample = self.data[index]
        except PisamError as error:
            return str(error)
        expected = frame_for_validation(np.zeros((*SHAPE.shape, 3), np.uint8), SHAPE, 32).mask
        return "right" if np.array_equal(sample.mask[0], expected) else "wrong"


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_photographs_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = Image.fromarray(np.stack([grey()] * 3, axis=-1))
    transpose = EXIF_TRANSPOSES.get(orientation)
    stored = upright if transpose is None else upright.transpose(transpose)
    options = {"quality": 95} if suffix in ("jpg", "webp") else {}
    stored.save(tmp_path / f"photo.{suffix}", exif=exif_of(orientation), **options)
    image = read_image(tmp_path / f"photo.{suffix}")
    assert image.shape[:2] == SHAPE.shape
    assert ((image[..., 0] > 127) != SHAPE).mean() < 0.02


def test_first_picture_of_a_phones_file_is_read(tmp_path: Path) -> None:
    photo = Image.fromarray(np.stack([grey()] * 3, axis=-1))
    depth = photo.transpose(Image.Transpose.ROTATE_90)
    photo.save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[depth])
    assert ((read_image(tmp_path / "photo.jpg")[..., 0] > 127) != SHAPE).mean() < 0.03


def test_trailing_bytes_after_a_jpeg_are_harmless(tmp_path: Path) -> None:
    path = save(grey(), tmp_path / "photo.jpg")
    path.write_bytes(path.read_bytes() + b"\0" * 5000)
    assert read_image(path).shape[:2] == SHAPE.shape


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
    narrow = read_image(save((ramp // 257).astype(np.uint16), tmp_path / "narrow.png"))
    np.testing.assert_array_equal(narrow[..., 1], ramp // 257)


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
    assert read_image(tmp_path / "turned.jpg").shape[:2] == read_mask(mask).shape == (24, 32)
    with pytest.raises(PisamError, match=r"mask.png: the mask is 32x24 but its image .*upright.jpg is 24x32"):
        check_sizes(tmp_path / "upright.jpg", read_image(tmp_path / "upright.jpg").shape, mask, (24, 32))


def test_real_photographs_are_read(shared: Path) -> None:
    for source in ("carrot_weed", "alphamatting"):
        folder = shared / "data" / source / "val"
        mask_path = sorted((folder / "masks").iterdir())[0]
        image_path = next((folder / "images").glob(f"{mask_path.stem}.*"))
        image, mask = read_image(image_path), read_mask(mask_path)
        check_sizes(image_path, image.shape, mask_path, mask.shape)
        assert image.dtype == np.uint8 and image.std() > 10
        np.testing.assert_array_equal(mask, np.array(Image.open(mask_path)) > 127)


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
