"""What was not written so is refused; flipped bytes of sealed files: test_checkpoint_io.py."""

from __future__ import annotations

import io
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch

from pisam.core.checksum import refuse_damaged, sealed
from pisam.core.errors import PisamError


def test_sealed_file_is_still_an_archive_that_torch_loads(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"x": torch.arange(1000)}, buffer)
    path = tmp_path / "sealed.ckpt"
    path.write_bytes(b"".join(sealed(buffer.getbuffer())))
    refuse_damaged(path)
    for mmap in (False, True):
        assert torch.load(path, weights_only=True, mmap=mmap)["x"].equal(torch.arange(1000))
    with ZipFile(path) as archive:
        assert archive.testzip() is None


def test_archive_without_a_seal_is_checked_by_its_own_checksums(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    with ZipFile(path, "w") as archive:
        archive.writestr("data", b"abcdef")
    refuse_damaged(path)
    path.write_bytes(path.read_bytes().replace(b"abcdef", b"abcdeg"))
    with pytest.raises(PisamError, match="damaged, the checksum of data does not fit"):
        refuse_damaged(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(PisamError, match="truncated, or no checkpoint"):
        refuse_damaged(path)
