"""Pictures of every format, mode and depth, most of them damaged; all readers must say the same of each."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from helpers.fuzzing import refusal
from helpers.odd_files import SHAPE, exif_of, grey
from helpers.png import write_png
from pisam.core.errors import PisamError
from pisam.data.reading.reader import ALL, open_mask, read_coverage, read_image, read_mask, read_reduced
from pisam.data.reading.targets import read_ids, read_labels
from pisam.data.sources.pairs import Pair
from pisam.evaluation.predictions import read_prediction

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr", "LAB", "F", "I")
SUFFIXES = ("png", "tif", "jpg", "bmp", "webp")


def run_case(seed: int, folder: Path) -> None:
    """Write a picture and read it with every reader; each gives an array or one line with the file's name."""
    rng = random.Random(seed)
    path, right = picture(rng, folder)
    damages = rng.choice([0, 0, 1, 1, 2, 5])
    data = path.read_bytes()
    for _ in range(damages):
        data = damaged(data, rng)
    path.write_bytes(data)
    masks = {name: outcome(read, path) for name, read in MASKS.items()}
    kinds = {name: type(found) for name, found in masks.items()}
    assert len(set(kinds.values())) == 1, f"{path.name}: {masks}"
    first = masks["read_mask"]
    if not isinstance(first, str):
        for name, found in masks.items():
            assert np.array_equal(found, first), f"{path.name}: {name} differs"
    if right and not damages:
        assert not isinstance(first, str), first
        assert (first != SHAPE).mean() < (0.03 if path.suffix in (".jpg", ".webp") else 1e-9), path.name
    images = {
        reduction: outcome(lambda p, r=reduction: read_reduced(p, r)[0], path) for reduction in (1, 2, 4, 8)
    }
    assert len({type(found) for found in images.values()}) == 1, f"{path.name}: {images}"
    whole = images[1]
    if not isinstance(whole, str):
        assert whole.dtype == np.uint8 and whole.shape[2:] == (3,)
        for reduction, found in images.items():
            assert found.shape[:2] == tuple(-(-side // reduction) for side in whole.shape[:2])
    for read in (read_image, read_ids, read_prediction):
        outcome(read, path)


def outcome(read: Callable[[Path], np.ndarray], path: Path) -> np.ndarray | str:
    """The array, or the text of the refusal."""
    try:
        return read(path)
    except PisamError as error:
        assert (wrong := refusal(path, error)) is None, wrong
        return str(error)


def _coverage_of_something(path: Path) -> np.ndarray:
    mask = read_coverage(path).values > 127
    if not mask.any():
        raise PisamError(f"{path}: the mask is empty")
    return mask


MASKS: dict[str, Callable[[Path], np.ndarray]] = {
    "read_mask": read_mask,
    "read_coverage": _coverage_of_something,
    "open_mask": lambda path: open_mask(path)[1](1) == ALL,
    "read_labels": lambda path: read_labels(Pair("a", path, path)).mask,
}


def picture(rng: random.Random, folder: Path) -> tuple[Path, bool]:
    """A file of `SHAPE`, and whether it is one that must be read right."""
    if rng.random() < 0.2:
        bits = rng.choice([1, 2, 4, 8, 16])
        transparent = rng.choice([None, 0])
        return write_png(folder / "a.png", SHAPE * (2**bits - 1), bits, transparent=transparent), True
    if rng.random() < 0.25:
        kind = rng.choice([np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.float32, bool])
        white = rng.random() < 0.4 and kind in (np.uint8, np.uint16)
        top = 1 if kind is bool else 255 if kind == np.uint8 else 32767 if kind == np.int16 else 65535
        values = np.where(white != SHAPE, top, 0).astype(kind)
        options = {"photometric": "miniswhite"} if white else {}
        order = rng.choice("<>")
        try:
            tifffile.imwrite(folder / "a.tif", values, byteorder=order, **options)
            return folder / "a.tif", kind in (np.uint8, np.uint16) and order == "<"
        except ValueError:
            pass
    mode, suffix = rng.choice(MODES), rng.choice(SUFFIXES)
    path = folder / f"a.{suffix}"
    options = {"exif": exif_of(rng.randint(0, 9))} if suffix != "bmp" and rng.random() < 0.3 else {}
    values = np.stack([grey()] * 3, axis=-1)
    try:
        image = Image.fromarray(grey().astype(np.uint16) * 257) if mode == "I;16" else _in_mode(values, mode)
        image.save(path, **options)
    except (OSError, ValueError, KeyError):
        Image.fromarray(grey()).save(path)
        return path, True
    return path, mode in ("L", "RGB", "RGBA", "1", "I;16") and not options


def _in_mode(values: np.ndarray, mode: str) -> Image.Image:
    if mode == "LAB":
        from PIL import ImageCms

        profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
        return ImageCms.profileToProfile(Image.fromarray(values), *profiles, outputMode="LAB")  # type: ignore
    return Image.fromarray(values).convert(mode)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The file with one damage: cut, bytes turned, a hostile header, parts twice."""
    if not data:
        return rng.randbytes(20)
    at = rng.randrange(len(data))
    match rng.randrange(8):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
        case 2:
            return data[:at] + rng.randbytes(rng.randint(1, 8)) + data[at + rng.randint(0, 8) :]
        case 3:
            head = rng.randrange(min(64, len(data)))
            return (
                data[:head]
                + rng.choice([b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"])
                + data[head + 4 :]
            )
        case 4:
            return data[:at] + bytes(len(data) - at)
        case 5:
            return hostile_size(data, rng)
        case 6:
            return data[:at] + data
    return data + rng.randbytes(rng.randint(1, 500))


def hostile_size(data: bytes, rng: random.Random) -> bytes:
    """A PNG whose header claims another size, depth or kind, with a right checksum; others: random sizes."""
    if not data.startswith(b"\x89PNG") or len(data) < 33:
        at = rng.randrange(len(data))
        return data[:at] + struct.pack("<I", rng.choice([0, 1, 2**16, 2**31 - 1, 12000])) + data[at + 4 :]
    sides = [rng.choice([0, 1, 7, 32, 1000, 12000, 60000, 2**31 - 1]) for _ in range(2)]
    header = struct.pack(
        ">IIBBBBB",
        *sides,
        rng.choice([1, 2, 4, 8, 16, 3]),
        rng.choice([0, 2, 3, 4, 6, 7]),
        0,
        0,
        rng.choice([0, 1]),
    )
    body = b"IHDR" + header
    return data[:12] + body + struct.pack(">I", zlib.crc32(body)) + data[33:]
