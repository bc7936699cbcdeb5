"""What occurs twice is told once, of the image that training does not see."""

from __future__ import annotations

from pathlib import Path

from pisam.data.audit.duplicates import Entry, Part, find_duplicates

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
