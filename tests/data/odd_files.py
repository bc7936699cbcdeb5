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
    ]
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
    for orientation, transpose in EXIF_TRANSPOSES.items():
        path = folder / f"exif-{orientation}.png"
        exif = Image.Exif()
        exif[0x0112] = orientation
        # The stored pixels are turned so that honouring the tag turns them back.
        inverse = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(orientation, transpose)
        Image.fromarray(grey()).transpose(inverse).save(path, exif=exif)
        files.append(path)
    return files


def damaged_files(folder: Path) -> dict[Path, str]:
    """Files that must be refused, with what the error says."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    errors: dict[Path, str] = {}
    for suffix in ("jpg", "png"):
        whole = save(noise, folder / f"whole.{suffix}").read_bytes()
        cut = folder / f"truncated.{suffix}"
        cut.write_bytes(whole[: len(whole) // 2])
        errors[cut] = "damaged or truncated"
    flipped = bytearray((folder / "whole.png").read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    (folder / "bit-flip.png").write_bytes(flipped)
    errors[folder / "bit-flip.png"] = "damaged or truncated"
    (folder / "text.jpg").write_text("<html>not found</html>")
    errors[folder / "text.jpg"] = "not an image"
    (folder / "zero-bytes.png").touch()
    errors[folder / "zero-bytes.png"] = "not an image"
    for name, side in (("bomb", 60000), ("small-bomb", 13000)):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")
        (folder / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
        errors[folder / f"{name}.png"] = "megapixels"
    (folder / "folder.png").mkdir()
    errors[folder / "folder.png"] = "folder.png: "
    errors[folder / "absent.png"] = "no such file"
    return errors


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
