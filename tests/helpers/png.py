"""PNG files of any depth, written bit by bit: Pillow writes some of them only."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

GREY, RGB, RGBA = 0, 2, 6


def write_png(
    path: Path,
    values: np.ndarray,
    bits: int,
    *,
    transparent: int | None = None,
    exif: Image.Exif | None = None,
) -> Path:
    """Write samples (H, W) or (H, W, 3 or 4) of `bits` bits each; returns the path."""
    values = np.asarray(values).astype(np.uint16)
    height, width = values.shape[:2]
    kind = GREY if values.ndim == 2 else {3: RGB, 4: RGBA}[values.shape[2]]
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    chunks = chunk(b"IHDR", header)
    if exif is not None:
        chunks += chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    if transparent is not None:
        chunks += chunk(b"tRNS", struct.pack(">H", transparent))
    rows = b"".join(b"\0" + _packed(row.ravel(), bits) for row in values)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _packed(samples: np.ndarray, bits: int) -> bytes:
    if bits == 16:
        return samples.astype(">u2").tobytes()
    places = (samples[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(places.astype(np.uint8).ravel()).tobytes()
