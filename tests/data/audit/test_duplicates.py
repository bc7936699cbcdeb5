"""Images that are there twice, and the hashes that tell."""

from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from helpers.audited_sets import picture
from pisam.data.audit.duplicates import (
    SAME_LOOK,
    Entry,
    Part,
    content_hash,
    find_duplicates,
    look_hash,
    same_looks,
)
from pisam.data.reading.reader import read_image


def look(image: np.ndarray) -> int:
    value = look_hash(image)
    assert value is not None
    return value


def distance(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def compressed(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=50)
    return np.array(Image.open(buffer))


def test_content_is_told_by_its_bytes() -> None:
    assert content_hash(b"a") == content_hash(b"a") != content_hash(b"b")


def test_look_of_photographs(shared: Path) -> None:
    photos = [read_image(file) for file in sorted((shared / "data/ccp_person/val/images").iterdir())]
    looks = [look(photo) for photo in photos]
    for photo, value in zip(photos[::3], looks[::3], strict=True):
        small = cv2.resize(photo, None, fx=0.4, fy=0.37, interpolation=cv2.INTER_AREA)
        brighter = np.clip(photo.astype(int) + 12, 0, 255).astype(np.uint8)
        for version in (compressed(photo), small, brighter):
            assert distance(look(version), value) <= SAME_LOOK
    assert min(distance(a, b) for a, b in combinations(looks, 2)) > 2 * SAME_LOOK


def test_mirrored_picture_is_another() -> None:
    assert distance(look(picture(0)), look(picture(0)[:, ::-1])) > SAME_LOOK


def test_single_shade_has_no_look() -> None:
    assert look_hash(np.full((40, 50, 3), 90, np.uint8)) is None


def test_same_looks_are_those_of_a_comparison_of_all() -> None:
    rng = np.random.default_rng(0)
    hashes = [int(value) for value in rng.integers(0, 2**63, 60)]
    for start in range(60):
        flips = rng.choice(64, int(rng.integers(0, 8)), replace=False)
        hashes.append(hashes[start] ^ sum(1 << int(bit) for bit in flips))
    found = list(same_looks(hashes))
    expected = [pair for pair in combinations(range(120), 2) if distance(*(hashes[i] for i in pair)) <= 4]
    assert sorted(found) == expected and len(expected) > 20


A, NEAR_A, NEARER, B = "0" * 16, f"{0b111:016x}", f"{0b11111:016x}", "f" * 16


def entry(part: Part, name: str, content: str, look: str = "") -> Entry:
    return Entry(part, "s", Path(name), content, look)


def found(*entries: Entry) -> list[tuple[str, str, str]]:
    return [(e.image.name, how, first.image.name) for e, first, how in find_duplicates(entries)]


def test_equal_files_and_alike_pictures() -> None:
    entries = (entry("train", "1", "x", A), entry("train", "2", "x", A), entry("train", "3", "y", NEAR_A))
    assert found(*entries, entry("train", "4", "z", B)) == [
        ("2", "same file as", "1"),
        ("3", "looks like", "1"),
    ]


def test_training_image_comes_first_whatever_the_order() -> None:
    entries = (entry("val", "v", "x", A), entry("test", "t", "y", NEAR_A), entry("train", "a", "x", A))
    assert found(*entries) == [("v", "same file as", "a"), ("t", "looks like", "a")]


def test_training_image_comes_first_among_alike_ones() -> None:
    entries = (entry("val", "v", "x", NEAR_A), entry("train", "a", "y", A), entry("train", "b", "z", NEARER))
    # a and b are too far apart; that v resembles both is told once.
    assert found(*entries) == [("v", "looks like", "a")]


def test_images_without_a_look_are_compared_by_content_alone() -> None:
    assert found(entry("train", "1", "x"), entry("val", "2", "y")) == []
