"""Files that are whole or not there, checks of those that are read, and a checksum in a checkpoint."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from pisam.core.errors import PisamError

LONGEST_NAME = 255  # bytes, of a file or folder
DEEPEST = 255  # folders in each other: Python makes them by a function that calls itself


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write beside `path`; the file takes its place, on the disk too, when the block ends well.

    Raises:
        PisamError: see `writing`; what was there before is untouched.
    """
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]  # a name may be as long as names can be
    temporary = path.with_name(f".{short}.{os.getpid()}.tmp")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make one PisamError of whatever keeps `path` from being written, such as a full disk."""
    try:
        yield
    except OSError as error:
        refuse_blocked(path.parent)
        if isinstance(error, IsADirectoryError):
            refuse_folders(path)
        if error.errno == errno.ENAMETOOLONG:
            raise PisamError(f"{path}: not written: {error.strerror}; give it a shorter name") from error
        raise PisamError(
            f"{path}: not written: {error.strerror or error}; make room or the folder writable, and run the "
            "same command again: what was saved before is kept"
        ) from error


def refuse_blocked(folder: Path) -> None:
    """Raise PisamError where a file, or a link to nowhere, stands in the place of a folder, or above it."""
    for path in (folder, *folder.parents):
        if os.path.lexists(path) and not os.path.isdir(path):
            what = "a file" if path.exists() else "a link to nowhere"
            raise PisamError(f"{path}: {what} stands where a folder is needed; remove it, or write elsewhere")


def refuse_folders(*files: Path) -> None:
    """Raise PisamError where a folder stands in the place of a file that is to be written.

    Asked before long work: else the folder is met at its end.
    """
    for path in files:
        refuse_blocked(path.parent)
        if os.path.isdir(path):  # of a name that is too long, too
            raise PisamError(f"{path}: a folder stands where a file is needed; remove it, or write elsewhere")


def refuse_unwritable(folder: Path) -> None:
    """Raises PisamError where nothing can be written to a folder; makes it."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def sweep_temporaries(folder: Path) -> None:
    """Remove what a killed process left behind in `replacing`."""
    for temporary in folder.glob(".*.tmp"):
        with suppress(OSError):
            temporary.unlink()


def write_bytes(contents: bytes, path: Path) -> None:
    """A file, whole or not at all; errors as `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(contents)


def write_text(text: str, path: Path, errors: str = "strict") -> None:
    """A text in UTF-8, as `write_bytes`; `errors` are those of encoding."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors)


def write_json(value: Any, path: Path) -> None:
    """Plain values as indented JSON, as `write_bytes`."""
    write_text(json.dumps(value, indent=2) + "\n", path)


def with_an_end(path: Path) -> Path:
    """The path itself, of a file: reading a pipe may wait forever, and a device may never end.

    Raises:
        OSError: something else is there.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"it is {'a folder' if path.is_dir() else 'a pipe or a device'}, expected a file")
    return path


def read_text(path: Path) -> str:
    """A file's text in UTF-8, a byte order mark before it or not.

    Raises:
        OSError: it cannot be read, see `with_an_end`.
        UnicodeDecodeError: it holds something else.
    """
    return with_an_end(path).read_text(encoding="utf-8-sig")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        PisamError: it cannot be read.
    """
    try:
        return hashlib.sha256(with_an_end(path).read_bytes()).hexdigest()
    except OSError as error:
        raise PisamError(f"{path}: not readable: {error.strerror or error}") from error


def sha256_of_files(folder: Path, pattern: str) -> str:
    """SHA-256 of the names, sizes and contents of those files of a folder that match, in hexadecimal.

    Raises:
        PisamError: one cannot be read.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.glob(pattern)):
        if file.is_file():
            try:
                with file.open("rb") as opened:
                    digest.update(os.fsencode(f"{file.relative_to(folder)}\0{file.stat().st_size}\0"))
                    while block := opened.read(1 << 20):
                        digest.update(block)
            except OSError as error:
                raise PisamError(f"{file}: not readable: {error.strerror}") from error
    return digest.hexdigest()


def parse_json(text: str, *, nan: bool = False) -> Any:
    """The value of a JSON text that anybody may have written; where `nan`, with Python's NaN and infinity.

    Raises:
        ValueError: not JSON of finite numbers, one key twice in an object, or nested too deep.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} among the numbers")

    def finite(digits: str) -> float:
        return number if math.isfinite(number := float(digits)) else refuse(digits)

    kinds: dict[str, Any] = {} if nan else {"parse_constant": refuse, "parse_float": finite}
    try:
        return json.loads(text, object_pairs_hook=_once, **kinds)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; `json` alone keeps the last of two equal keys."""
    found = dict(pairs)
    if len(found) < len(pairs):
        double = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"an object has the key {double[:40]} twice")
    return found


def read_object(
    path: Path, what: str, fields: Mapping[str, type] | None = None, *, nan: bool = False
) -> dict[str, Any]:
    """A JSON object from a file that anybody may have written.

    Args:
        what: begins error messages.
        fields: keys that must be there, and the kinds of their values.
        nan: as in `parse_json`.

    Raises:
        PisamError: not there, not as `parse_json` wants it, no object, or a field missing or of another kind.
    """
    try:
        content = parse_json(read_text(path), nan=nan)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise PisamError(f"{what}{path}: not readable as JSON: {reason:.200}") from error
    if not isinstance(content, dict):
        raise PisamError(f"{what}{path}: expected a JSON object, got {type(content).__name__}")
    for key, kind in (fields or {}).items():
        value = content.get(key)
        if type(value) is not kind:
            raise PisamError(f"{what}{path}: {key}: expected a {kind.__name__}, got {shown(value)}")
    return content


def shown(value: Any) -> str:
    """A value in an error message, in 60 characters at most, whatever it is."""
    if isinstance(value, int) and abs(value) >= 10**60:
        return "a number of more than 60 digits"
    if isinstance(value, (list, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    return repr(value)[:60]


def local_path(location: str | Path, what: str) -> Path:
    """`location` as a path.

    Args:
        what: begins the error message: the key or the kind of file.

    Raises:
        PisamError: it is a URL, from which nothing is ever loaded, or can be no path at all.
    """
    if not isinstance(location, str | Path):
        raise PisamError(f"{what}: expected a path, got {type(location).__name__}")
    # `Path` turns "https://" into "https:/"; a single letter would be a drive.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(location)):
        raise PisamError(
            f"{what} {location}: expected a local file, got a URL; download it and give the file's path"
        )
    if not is_possible_path(str(location)):
        raise PisamError(
            f"{what}: expected a path of at most {DEEPEST} names of at most {LONGEST_NAME} bytes, without NUL"
        )
    return Path(os.path.expanduser(location))  # which leaves ~ where there is no home


def is_possible_path(text: str) -> bool:
    """False for a NUL, half a character, a name or a whole that is too long, or too many folders."""
    if "\0" in text or len(text) >= 4096 or not is_encodable(text):
        return False
    parts = text.split(os.sep)
    return len(parts) <= DEEPEST and all(len(os.fsencode(part)) <= LONGEST_NAME for part in parts)


def is_encodable(text: str) -> bool:
    """False for half a character (a surrogate), but for those that stand for the bytes of a file's name."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def shipped(name: str) -> Path:
    """A folder that comes with the package."""
    return Path(__file__).resolve().parents[1] / name


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
