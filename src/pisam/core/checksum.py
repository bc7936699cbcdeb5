"""A checksum in a checkpoint file itself: `torch.load` loads damaged weights without a word."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from pisam.core.errors import PisamError

SEAL = b"sha256 "
SEAL_LENGTH = len(SEAL) + 64
NO_COMMENT = bytes(2)  # the length of its comment, at the end of a zip archive


def sealed(archive: memoryview) -> Iterator[bytes | memoryview]:
    """The pieces of a file: a zip archive as `torch.save` makes it, its SHA-256 as the comment."""
    assert archive[-2:] == NO_COMMENT
    yield archive[:-2]
    yield SEAL_LENGTH.to_bytes(2, "little") + SEAL + hashlib.sha256(archive).hexdigest().encode()


def refuse_damaged(path: Path) -> None:
    """Check a zip archive as `torch.save` makes it, which `torch.load` does not; leave other files to that.

    Where it is `sealed`, every byte of it; else what the CRC-32 of each part covers.

    Raises:
        PisamError: truncated, or not what was written.
    """
    with path.open("rb") as file:
        archive = file.read(2) == b"PK"
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - SEAL_LENGTH - 2))
        end = file.read()
    if not archive:
        return
    if SEAL in end:
        if end != SEAL_LENGTH.to_bytes(2, "little") + SEAL + _digest(path, length - len(end)):
            raise PisamError(f"checkpoint {path}: damaged, its checksum does not fit")
        return
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()
    except Exception as error:  # a damaged archive raises anything: BadZipFile, EOFError, struct.error, ...
        raise PisamError(f"checkpoint {path}: truncated, or no checkpoint ({error})") from error
    if damaged is not None:
        raise PisamError(f"checkpoint {path}: damaged, the checksum of {damaged} does not fit")


def _digest(path: Path, length: int) -> bytes:
    """SHA-256 of the archive as it was before the comment after its first `length` bytes was announced."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length > 0 and (block := file.read(min(length, 1 << 20))):
            digest.update(block)
            length -= len(block)
    digest.update(NO_COMMENT)
    return digest.hexdigest().encode()
