"""Files as they are met in the wild, generated: each with the pixels it should give, or the error."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

# A shape without symmetry, so that any wrong turn shows.
SHAPE = np.zeros((24, 32), bool)
SHAPE[2:14, 3:9] = True
SHAPE[10:14, 3:25] = True

# What turns an upright picture into the stored one of each orientation.
EXIF_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def grey(low: int = 0, high: int = 255) -> np.ndarray:
    return np.where(SHAPE, high, low).astype(np.uint8)


def save(array: np.ndarray, path: Path, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def good_masks(folder: Path) -> list[Path]:
    """Files that all mean `SHAPE`."""
    files = [
        save(grey(), folder / "0-255.png"),
        save(grey(0, 1), folder / "0-1.png"),
        save(np.where(SHAPE, 200, 90).astype(np.uint8), folder / "grey-edges.png"),
        save(SHAPE, folder / "one-bit.png"),
        save(np.stack([grey()] * 3, axis=-1), folder / "rgb.png"),
        save(np.stack([grey(), grey(0, 0), grey(0, 0)], axis=-1), folder / "red.png"),
        save(np.dstack([grey(), grey(), grey(), np.full_like(grey(), 255)]), folder / "rgba-opaque.png"),
        save(np.dstack([grey(0, 0)] * 3 + [grey()]), folder / "alpha-is-mask.png"),
        save(np.dstack([np.full_like(grey(), 255)] * 3 + [grey()]), folder / "white-in-alpha.png"),
        save(np.dstack([grey(), np.full_like(grey(), 255)]), folder / "grey-alpha.png"),
        save(grey().astype(np.uint16) * 257, folder / "sixteen-bit.png"),
        save(grey().astype(np.uint16), folder / "sixteen-bit-0-255.png"),
        save(grey(0, 1).astype(np.uint16), folder / "sixteen-bit-0-1.png"),
        save(grey(), folder / "mask.bmp"),
        save(grey(), folder / "mask.tif", compression="tiff_lzw"),
        folder / "cmyk.tif",
    ]
    Image.fromarray(np.stack([grey()] * 3, axis=-1)).convert("CMYK").save(files[-1])
    index = Image.fromarray(grey(0, 1))
    for name, palette in (("voc", [0, 0, 0, 128, 0, 0]), ("grey-palette", [0, 0, 0, 255, 255, 255])):
        image = index.copy().convert("L")
        image = Image.frombytes("P", image.size, image.tobytes())
        image.putpalette(palette)
        image.save(folder / f"{name}.png")
        files.append(folder / f"{name}.png")
    inverted = Image.frombytes("P", index.size, grey(1, 0).tobytes())
    inverted.putpalette([255, 255, 255, 0, 0, 0])
    inverted.save(folder / "palette-white-first.png")
    files.append(folder / "palette-white-first.png")
    for suffix in ("png", "tif"):
        for orientation, transpose in EXIF_TRANSPOSES.items():
            path = folder / f"exif-{orientation}.{suffix}"
            # The stored pixels are turned so that honouring the tag turns them back.
            Image.fromarray(grey()).transpose(transpose).save(path, exif=exif_of(orientation))
            files.append(path)
    return files + odd_palettes(folder) + odd_alphas(folder) + odd_containers(folder)


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def palette(indices: np.ndarray, colours: list[int]) -> Image.Image:
    image = Image.frombytes("P", (indices.shape[1], indices.shape[0]), indices.astype(np.uint8).tobytes())
    image.putpalette(colours)
    return image


def odd_palettes(folder: Path) -> list[Path]:
    """More palettes that mean `SHAPE`."""
    parts = np.where(SHAPE, 1 + (np.arange(32) % 2), 0)
    files = [folder / "dark-and-light-colours.png", folder / "transparent-colour.png"]
    palette(parts, [0, 0, 0, 0, 64, 0, 255, 255, 0]).save(files[0])
    # A third colour is wholly transparent and so not object.
    palette(np.where(SHAPE, 1, 2), [0, 0, 0, 0, 64, 0, 255, 0, 0]).save(files[1], transparency=2)
    return files


def odd_alphas(folder: Path) -> list[Path]:
    """Alpha channels that mean `SHAPE`, alone or beside a drawing."""
    photo = np.random.default_rng(0).integers(0, 255, (*SHAPE.shape, 3), dtype=np.uint8)
    opaque_left = np.where(np.arange(32) < 28, 255, 0) * np.ones((24, 1), int)
    drawing = np.dstack([grey()] * 3 + [opaque_left.astype(np.uint8)])
    return [
        save(np.dstack([photo, grey()]), folder / "cut-out-photo.png"),
        save(drawing, folder / "drawing-with-transparent-margin.png"),
        save(np.dstack([grey(0, 1)] * 3 + [np.full_like(grey(), 255)]), folder / "rgba-0-1.png"),
    ]


def odd_containers(folder: Path) -> list[Path]:
    """Files whose wrapping is unusual and whose pixels are `SHAPE`."""
    picture = Image.fromarray(grey())
    files = [folder / name for name in ("png-inside.jpg", "bad-exif.png", "big-endian.tif", "lossless.webp")]
    picture.save(files[0], format="PNG")
    picture.save(files[1], exif=b"Exif\0\0neither II nor MM")
    Image.frombytes("I;16B", picture.size, (grey().astype(">u2") * 257).tobytes()).save(files[2])
    picture.convert("RGB").save(files[3], lossless=True)
    return files


def damaged_files(folder: Path) -> dict[Path, str]:
    """Files that must be refused, as image and as mask, with what the error says."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    errors: dict[Path, str] = {}

    def add(name: str, data: bytes, message: str) -> None:
        (folder / name).write_bytes(data)
        errors[folder / name] = message

    whole: dict[str, bytes] = {}
    for name, options in {
        "jpg": {},
        "progressive.jpg": {"progressive": True},
        # A thumbnail inside has an end marker of its own.
        "thumbnail.jpg": {"exif": b"Exif\0\0" + b"\xff\xd8thumbnail\xff\xd9"},
        "png": {},
        "webp": {"lossless": True},
        "bmp": {},
        "tif": {},
    }.items():
        noise.save(folder / f"whole.{name}", **options)
        data = whole[name] = (folder / f"whole.{name}").read_bytes()
        add(f"truncated.{name}", data[: len(data) // 2], r"damaged or truncated|not an image")
        if name.endswith(("jpg", "png")):
            kept = len(data) - 40 if name.endswith("jpg") else len(data) // 2
            add(f"zeros-at-the-end.{name}", data[:kept] + bytes(len(data) - kept), "damaged or truncated")
    flipped = bytearray(whole["png"])
    flipped[len(flipped) // 2] ^= 0xFF
    add("bit-flip.png", bytes(flipped), "damaged or truncated .*checksum")
    add("without-end.png", whole["png"][:-12], "damaged or truncated .*end of the PNG")
    add("text.jpg", b"<html>not found</html>", "not an image")
    add("zero-bytes.png", b"", "not an image")
    add("postscript.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image")
    for name, side in (("bomb", 60000), ("small-bomb", 13000)):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")
        add(f"{name}.png", b"\x89PNG\r\n\x1a\n" + chunks, "megapixels")
    for suffix in ("tif", "png", "webp"):
        path = folder / f"two-frames.{suffix}"
        noise.save(path, save_all=True, append_images=[noise.transpose(Image.Transpose.ROTATE_90)])
        errors[path] = "holds several pages or frames"
    save(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), folder / "float.tif")
    errors[folder / "float.tif"] = "pixels of kind F"
    (folder / "folder.png").mkdir()
    errors[folder / "folder.png"] = "not a file"
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    errors[folder / "dangling.png"] = "no such file"
    errors[folder / "absent.png"] = "no such file"
    return errors


def wrong_masks(folder: Path) -> dict[Path, str]:
    """Files that are images, but cannot be told to be masks, with what the error says."""
    ids = np.where(SHAPE, 3, 0).astype(np.uint8)
    files = {
        save(grey(0, 0), folder / "black.png"): "the mask is empty, its values reach 0",
        save(grey(0, 90), folder / "dark.png"): "the mask is empty, its values reach 90",
        save(ids, folder / "ids.png"): "the mask is empty, its values reach 3",
        save((grey().astype(np.uint16) * 16), folder / "twelve-bit.png"): "the mask is empty",
        save(np.full((8, 12), 70000, np.int32), folder / "wide.tif"): "values from 70000 to 70000",
    }
    path = folder / "palette-upside-down.png"
    palette(np.where(SHAPE, 0, 1), [255, 0, 0, 0, 0, 0]).save(path)
    return {**files, path: "palette with a coloured index 0 and black at index 1"}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
