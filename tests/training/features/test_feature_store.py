"""Frozen features on disk: shared, resumed, bounded, and never those of other weights, images or views."""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pisam.core.errors import PisamError
from pisam.training.features.feature_store import FeatureStore, Key

LAYOUT = np.dtype([("feature", "<f4", (6,)), ("mask", "u1", (2,))])
KEYS: list[Key] = [("train", "set", str(index), 0) for index in range(4)]


def store(
    folder: Path, stamps: dict[Key, str] | None = None, limit: int = 10**9, **identity: Any
) -> FeatureStore:
    stamps = dict.fromkeys(KEYS, "1") if stamps is None else stamps
    return FeatureStore(
        folder, layout=LAYOUT, stamps=stamps, identity={"weights": "a", **identity}, limit=limit
    )


def record(value: float) -> np.ndarray:
    made = np.zeros((), dtype=LAYOUT)
    made["feature"], made["mask"] = value, int(value)
    return made


def values(shelf: FeatureStore) -> list[float | None]:
    found = (shelf.read(key) for key in KEYS)
    return [None if one is None else float(one["feature"][0]) for one in found]


def test_what_one_process_writes_another_reads_now_and_later(tmp_path: Path) -> None:
    mine, others = store(tmp_path / "features"), store(tmp_path / "features")
    mine.write(KEYS[1], record(5))
    others.write(KEYS[1], record(6))  # too late: the first one counts
    others.write(KEYS[3], record(7))
    for shelf in (mine, others, store(tmp_path / "features")):
        assert values(shelf) == [None, 5, None, 7]
        assert len(shelf) == 2


def test_damaged_record_is_not_read_and_can_be_written_again(tmp_path: Path) -> None:
    first = store(tmp_path)
    for index, key in enumerate(KEYS):
        first.write(key, record(index))
    file = tmp_path / "records.bin"
    data = bytearray(file.read_bytes())
    data[2 * LAYOUT.itemsize + 3] ^= 1
    file.write_bytes(data)
    again = store(tmp_path)
    assert values(again) == [0, 1, None, 3]
    again.write(KEYS[2], record(9))
    assert values(store(tmp_path)) == [0, 1, 9, 3]


def test_a_run_of_other_data_at_the_same_time_changes_no_record_that_was_read(tmp_path: Path) -> None:
    mine, others = store(tmp_path), store(tmp_path, dict.fromkeys(KEYS, "2"))
    mine.write(KEYS[0], record(5))
    read = mine.read(KEYS[0])
    others.write(KEYS[0], record(6))  # in the place that seemed free
    assert read is not None and read["feature"][0] == 5
    assert values(mine)[0] is None and values(others)[0] == 6


def test_changed_image_is_computed_again_and_its_place_is_used_again(tmp_path: Path) -> None:
    first = store(tmp_path)
    for index, key in enumerate(KEYS):
        first.write(key, record(index))
    size = (tmp_path / "records.bin").stat().st_size
    changed = store(tmp_path, {**dict.fromkeys(KEYS, "1"), KEYS[0]: "2"})
    assert values(changed) == [None, 1, 2, 3]
    changed.write(KEYS[0], record(8))
    assert values(changed) == [8, 1, 2, 3]
    assert (tmp_path / "records.bin").stat().st_size == size


def test_size_is_said_first_and_never_exceeded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        bounded = store(tmp_path, limit=2 * LAYOUT.itemsize + 1)
    assert "2 views of" in caplog.text and "2 more would exceed the limit" in caplog.text
    for index, key in enumerate(KEYS):
        bounded.write(key, record(index))
    assert values(bounded) == [0, 1, None, None]
    assert (tmp_path / "records.bin").stat().st_size == 2 * LAYOUT.itemsize


def test_features_of_other_weights_are_refused(tmp_path: Path) -> None:
    store(tmp_path)
    with pytest.raises(
        PisamError, match="made with weights a, this run has b; remove the folder or name another"
    ):
        store(tmp_path, weights="b")


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("words")
    with pytest.raises(PisamError, match=r"expected a folder of features or an empty one, found thesis.txt"):
        store(tmp_path)
    assert [file.name for file in tmp_path.iterdir() if file.name != "lock"] == ["thesis.txt"]


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 50 bytes: what a full disk says, of this process alone."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_full_disk_is_one_line_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match="not written"), small_files():
        store(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PisamError, match="not written: Permission denied"):
        store(tmp_path / "features")


def test_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "features").touch()
    with pytest.raises(PisamError, match="not written"):
        store(tmp_path / "features")
