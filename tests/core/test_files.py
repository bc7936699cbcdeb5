"""Files that are whole or not there, and checksums in checkpoints."""

from __future__ import annotations

import errno
import io
import json
import os
import time
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch

from pisam.core.errors import PisamError
from pisam.core.files import (
    local_path,
    parse_json,
    read_object,
    refuse_damaged,
    refuse_folders,
    refuse_unwritable,
    replacing,
    sealed,
    sha256_of,
    sweep_temporaries,
    with_an_end,
    write_json,
)


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    with replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_text("new")
        raise KeyError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_what_the_disk_refuses_is_one_line(tmp_path: Path, number: int) -> None:
    path = tmp_path / "file"
    message = rf"file: not written: {os.strerror(number)}; make room"
    with pytest.raises(PisamError, match=message), replacing(path):
        raise OSError(number, os.strerror(number))
    assert not list(tmp_path.iterdir())


def test_the_longest_name_that_a_file_may_have_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("\u6f22" * 83 + ".png")  # 253 bytes
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with pytest.raises(PisamError, match=r"not written: File name too long; give it a shorter name"):
        path = tmp_path / ("x" * 256)
        with replacing(path) as temporary:
            temporary.write_text("whole")


def test_a_key_given_twice_among_many_is_found_at_once() -> None:
    text = "{" + ", ".join(f'"{number}": 0' for number in [*range(60_000), 59_999]) + "}"
    start = time.process_time()
    json.loads(text)
    plain, start = time.process_time() - start, time.process_time()
    with pytest.raises(ValueError, match="the key 59999 twice"):
        parse_json(text)
    assert time.process_time() - start < 200 * plain, "with the square of the keys, over a thousand times"


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path: Path) -> None:
    refuse_unwritable(tmp_path / "a" / "b")
    assert not list((tmp_path / "a" / "b").iterdir())
    (tmp_path / "probe").write_text("mine")
    refuse_unwritable(tmp_path)
    assert (tmp_path / "probe").read_text() == "mine"
    (tmp_path / "file").touch()
    with pytest.raises(PisamError, match="not written: "):
        refuse_unwritable(tmp_path / "file")


def test_a_folder_in_the_place_of_a_file_is_named_before_and_at_the_writing(tmp_path: Path) -> None:
    (path := tmp_path / "summary.json").mkdir()
    for refuse in (lambda: refuse_folders(path), lambda: write_json({}, path)):
        with pytest.raises(PisamError, match=r"summary\.json: a folder stands where a file is needed"):
            refuse()
    refuse_folders(tmp_path / "absent" / "a.json")
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_only_temporaries_are_swept(tmp_path: Path) -> None:
    for name in (".last.ckpt.77.tmp", "last.ckpt", ".hidden", "notes.tmp"):
        (tmp_path / name).touch()
    sweep_temporaries(tmp_path)
    sweep_temporaries(tmp_path / "absent")
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", ".hidden", "notes.tmp"}


@pytest.mark.parametrize("url", ["http://a/b.ckpt", "https:/a/b.ckpt", "s3://bucket/x", "file:///x.ckpt"])
def test_urls_are_refused(url: str) -> None:
    for location in (url, Path(url)):
        with pytest.raises(PisamError, match=r"^key .*: expected a local file, got a URL; download it"):
            local_path(location, "key")


@pytest.mark.parametrize("path", ["a/b.ckpt", "/a:b/c", "./http:/x", "C:/x", "lr=1/x"])
def test_local_paths_are_left_alone(path: str) -> None:
    assert local_path(path, "key") == Path(path)


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deep"),
        ("[NaN]", "NaN among the numbers"),
        ("[1e999]", "1e999 among the numbers"),
        ('{"a": {"b": 1, "b": 2}}', "an object has the key b twice"),
        ("", "Expecting value"),
        ("1" * 5000, "digits"),
    ],
    ids=lambda text: text[:20],
)
def test_json_of_anybodys_is_a_value_or_one_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(PisamError, match=rf"x.json: not readable as JSON: .*{message}") as error:
        read_object(tmp_path / "x.json", "")
    assert "\n" not in str(error.value)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_has_no_end_is_not_read(tmp_path: Path, kind: str) -> None:
    """A pipe that nobody writes to is waited for, and /dev/zero fills the memory."""
    path = {"device": Path("/dev/zero"), "folder": tmp_path}.get(kind, tmp_path / "x.json")
    if kind == "pipe":
        os.mkfifo(path)
    expected = f"it is a {'folder' if kind == 'folder' else 'pipe or a device'}, expected a file"
    with pytest.raises(OSError, match=expected):
        with_an_end(path)
    with pytest.raises(PisamError, match=rf"{path}: not readable as JSON: {expected}"):
        read_object(path, "")
    with pytest.raises(PisamError, match=rf"{path}: not readable: {expected}"):
        sha256_of(path)


def test_a_mark_of_the_order_of_bytes_is_passed_over(tmp_path: Path) -> None:
    """As Windows' editor writes it."""
    (tmp_path / "x.json").write_text('{"a": 1}', encoding="utf-8-sig")
    assert read_object(tmp_path / "x.json", "", {"a": int}) == {"a": 1}
