"""Answers of a frozen network on disk: one memory-mapped file that all ranks of a node share."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pisam.core.errors import PisamError
from pisam.core.files import read_object, write_json, writing

log = logging.getLogger(__name__)

Key = tuple[str, str, str, int]  # train or val, data set, image, augmented view
SLOT = np.dtype([("key", "S32"), ("crc", "<u4"), ("filled", "u1")])
VERSION = 1


class FeatureStore:
    """Records of one layout in a folder: `about.json`, `slots.bin` (whose they are) and `records.bin`.

    Whoever needs a record first computes it and writes it; every other process reads it from then on. A
    record counts only with its checksum, so a process that is killed while it writes costs one record. Space
    is taken when the store is opened: a disk that is too small shows before the first step.

    Args:
        folder: made where it is missing.
        layout: of a record.
        stamps: of each view that may be asked for, a text that changes when its image or mask does.
        identity: plain values that decide the numbers: weights, frame, augmentation; a folder of others is
            refused.
        limit: bytes at most; views beyond are never kept.

    Raises:
        PisamError: the folder holds another store, or cannot be written to, or the disk is too small.
    """

    def __init__(
        self,
        folder: Path,
        *,
        layout: np.dtype,
        stamps: Mapping[Key, str],
        identity: Mapping[str, Any],
        limit: int,
    ) -> None:
        self.folder = folder
        self.layout = layout
        self._digests = {key: _digest(key, stamp) for key, stamp in stamps.items()}
        self._checked: set[int] = set()
        self._identity = {"version": VERSION, "layout": str(layout.descr), **identity}
        slots = min(len(stamps), limit // layout.itemsize)
        left_out = len(stamps) - slots
        log.info(
            "features: %d views of %.2f MB, %.1f GB in %s%s",
            slots,
            layout.itemsize / 1e6,
            slots * layout.itemsize / 1e9,
            folder,
            f"; {left_out} more would exceed the limit and are computed each time" if left_out else "",
        )
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "lock").open("w"):
                pass
        with self._alone():
            self._check_identity()
            self._open(slots)
        log.info("features: %d of them are there already", len(self))

    def __len__(self) -> int:
        """The number of records that this store's views would find."""
        return sum(self._is_filled(key) for key in self._digests)

    def read(self, key: Key) -> npt.NDArray[Any] | None:
        """A copy of the record of a view, one structured value; None where it is not there or damaged.

        A run of other data may use the folder at the same time, and give the place to a view of its own.
        """
        if not self._is_filled(key):
            return None
        slot = self._slot[key]
        with self._alone(fcntl.LOCK_SH):
            if not self._is_filled(key):
                return None
            record, crc = self._records[slot].copy(), int(self._slots[slot]["crc"])
        if slot not in self._checked:
            if zlib.crc32(record) != crc:
                log.warning("features: a damaged record in %s is computed again", self.folder)
                self._slots[slot]["filled"] = 0
                return None
            self._checked.add(slot)
        return record.view(self.layout)[0]

    def write(self, key: Key, record: npt.NDArray[Any]) -> None:
        """Keep the record of a view, where it has a place and nobody else was faster."""
        slot = self._slot.get(key)
        if slot is None:
            return
        with self._alone():
            if not self._is_filled(key):
                self._slots[slot]["filled"] = 0  # whoever is killed here leaves nobody's record
                self._records[slot] = np.frombuffer(record.tobytes(), dtype=np.uint8)
                self._slots[slot] = (self._digests[key], zlib.crc32(self._records[slot]), 1)
                self._checked.add(slot)

    def _is_filled(self, key: Key) -> bool:
        slot = self._slot.get(key)
        if slot is None:
            return False
        return bool(self._slots[slot]["filled"]) and self._slots[slot]["key"] == self._digests[key]

    def _check_identity(self) -> None:
        about = self.folder / "about.json"
        if not about.is_file():
            strangers = [file.name for file in self.folder.iterdir() if file.name != "lock"]
            if strangers:
                raise PisamError(
                    f"{self.folder}: expected a folder of features or an empty one, found {strangers[0]}"
                )
            write_json(self._identity, about)
        try:
            theirs = read_object(about, "")
        except PisamError as error:
            raise PisamError(f"{error}; remove {self.folder}") from error
        differing = [name for name, value in self._identity.items() if theirs.get(name) != value]
        if differing:
            name = differing[0]
            raise PisamError(
                f"{self.folder}: its features were made with {name} {theirs.get(name)}, this run has "
                f"{self._identity[name]}; remove the folder or name another"
            )

    def _open(self, slots: int) -> None:
        """Map both files, give each view a slot, and free those of views that are gone."""
        index, records = self.folder / "slots.bin", self.folder / "records.bin"
        had = index.stat().st_size // SLOT.itemsize if index.is_file() else 0
        total = max(slots, had)
        _take_space(records, total * self.layout.itemsize)
        _take_space(index, total * SLOT.itemsize)
        with writing(self.folder):
            self._slots = np.memmap(index, dtype=SLOT, mode="r+", shape=(total,))
            self._records = np.memmap(records, np.uint8, "r+", shape=(total, self.layout.itemsize))
        of_digest = {bytes(row["key"]): slot for slot, row in enumerate(self._slots) if row["filled"]}
        self._slot = {key: of_digest[digest] for key, digest in self._digests.items() if digest in of_digest}
        free = iter(sorted(set(range(total)) - set(self._slot.values())))
        for key in self._digests:
            if len(self._slot) >= slots:
                break
            if key not in self._slot:
                self._slot[key] = next(free)

    @contextlib.contextmanager
    def _alone(self, how: int = fcntl.LOCK_EX) -> Iterator[None]:
        """One process of the node at a time, or, with LOCK_SH, no one that writes."""
        with (self.folder / "lock").open("r+") as lock:
            fcntl.flock(lock, how)
            yield


def _digest(key: Key, stamp: str) -> bytes:
    text = json.dumps([*key, stamp])
    return hashlib.sha256(text.encode()).hexdigest()[:32].encode()


def _take_space(path: Path, size: int) -> None:
    """Make a file at least `size` bytes long, its blocks reserved: a map never runs out of disk."""
    with writing(path), path.open("ab") as file:
        before = file.tell()
        if size <= before:
            return
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), before, size - before)
            else:
                file.truncate(size)
        except OSError:
            os.ftruncate(file.fileno(), before)
            raise
