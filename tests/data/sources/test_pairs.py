"""Folders become pairs, and every gap is named."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.data_folders import touch
from pisam.core.errors import PisamError
from pisam.data.sources.pairs import list_pairs, match_files
from pisam.data.sources.rows import Source


def own(folder: Path, images: list[str], masks: list[str]) -> Source:
    return Source("mine", touch(folder / "i", *images), touch(folder / "m", *masks))


def test_pairs_match_by_name_minus_last_suffix_and_are_sorted(tmp_path: Path) -> None:
    source = own(
        tmp_path,
        ["2#b.v1.final.jpg", "1#a.jpeg", "1#a.x.PNG", "._1#a.jpg", "notes.txt"],
        ["1#a.x.png", "1#a.png", "2#b.v1.final.png", "another.png"],
    )
    assert [(p.id, p.image.name, p.mask.name) for p in list_pairs(source)] == [
        ("1#a", "1#a.jpeg", "1#a.png"),
        ("1#a.x", "1#a.x.PNG", "1#a.x.png"),
        ("2#b.v1.final", "2#b.v1.final.jpg", "2#b.v1.final.png"),
    ]


def test_limit_keeps_the_first(tmp_path: Path) -> None:
    source = own(tmp_path, ["b.jpg", "a.jpg", "c.jpg"], ["a.png", "b.png", "c.png"])
    assert [pair.id for pair in list_pairs(replace(source, limit=2))] == ["a", "b"]


def test_list_of_names_chooses_with_and_without_suffix(tmp_path: Path) -> None:
    source = own(tmp_path, ["a.jpg", "b.v1.jpg", "c.jpg"], ["a.png", "b.v1.png", "c.png"])
    (tmp_path / "part.txt").write_text("a.png\n\n images/b.v1 \n")
    listed = replace(source, names=tmp_path / "part.txt")
    assert [pair.id for pair in list_pairs(listed)] == ["a", "b.v1"]
    (tmp_path / "part.txt").write_text("a\nd.png\n")
    with pytest.raises(PisamError, match=r"part.txt: lists d, but .*i holds no such image"):
        list_pairs(listed)
    (tmp_path / "part.txt").write_text("d\n")
    with pytest.raises(PisamError, match=r"part.txt: lists d, but .*i holds no such image"):
        list_pairs(listed)
    (tmp_path / "part.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(PisamError, match=r"part.txt: cannot be read as text"):
        list_pairs(listed)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", ["names", "masks"])
def test_a_pipe_in_the_place_of_a_list_or_of_annotations_is_not_waited_for(
    tmp_path: Path, place: str
) -> None:
    source = own(tmp_path, ["a.jpg"], ["a.png"])
    os.mkfifo(tmp_path / "pipe.json")
    odd = {place: tmp_path / "pipe.json", "annotated": place == "masks"}
    with pytest.raises(PisamError, match=r"pipe\.json: .*it is a pipe or a device, expected a file"):
        list_pairs(replace(source, **odd))


def test_gaps_in_folders_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"b.c.jpg: image without mask.*b.c.png"):
        list_pairs(own(tmp_path / "1", ["a.jpg", "b.c.jpg"], ["a.png", "b.png"]))
    with pytest.raises(PisamError, match="no image in this folder of mine"):
        list_pairs(own(tmp_path / "2", ["readme.txt"], ["a.png"]))
    with pytest.raises(PisamError, match=r"a.png: same stem as a.jpg"):
        list_pairs(own(tmp_path / "3", ["a.jpg", "a.png"], ["a.png"]))
    with pytest.raises(PisamError, match=r"a.png: same stem as a.jpg"):
        list_pairs(own(tmp_path / "4", ["a.jpg"], ["a.jpg", "a.png"]))
    with pytest.raises(PisamError, match="gone: cannot be listed"):
        list_pairs(Source("mine", tmp_path / "gone", tmp_path))


def test_all_gaps_are_found_beside_what_is_whole(tmp_path: Path) -> None:
    source = own(tmp_path, ["a.jpg", "b.jpg", "c.jpg", "c.png"], ["a.png", "c.png", "d.png"])
    matched = match_files(source)
    assert [pair.id for pair in matched.pairs] == ["a", "c"]
    assert [image.name for image, _ in matched.gaps if image] == ["b.jpg", "c.jpg"]
    assert [mask.name for mask in matched.unused] == ["d.png"]


def test_two_ways_to_write_an_accent_are_one_name(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "é-fenêtre") for form in ("NFC", "NFD"))
    source = own(tmp_path, [f"{apart}.jpg"], [f"{composed}.png"])
    (pair,) = list_pairs(source)
    assert pair.id == composed and pair.image.name == f"{apart}.jpg"
    names = tmp_path / "part.txt"
    names.write_text(f"{composed}\n", encoding="utf-8")
    assert list_pairs(replace(source, names=names)) == [pair]
    touch(source.images, f"{composed}.jpg")
    with pytest.raises(PisamError, match="same stem as"):
        list_pairs(source)


@pytest.mark.parametrize(
    "text", ["\ufeffa.jpg\n", "\ufeffa\r\n", "images\\a.jpg\r\n", "sub/a.jpg\n", " a \n\n"]
)
def test_lists_as_other_programs_write_them(tmp_path: Path, text: str) -> None:
    names = tmp_path / "part.txt"
    names.write_bytes(text.encode())
    source = replace(own(tmp_path, ["a.jpg", "b.jpg"], ["a.png", "b.png"]), names=names)
    assert [pair.id for pair in list_pairs(source)] == ["a"]


@pytest.mark.parametrize("suffix", ["jfif", "JPE", "JPEG"])
def test_every_name_of_a_jpeg_is_one(tmp_path: Path, suffix: str) -> None:
    assert [pair.id for pair in list_pairs(own(tmp_path, [f"a.{suffix}"], ["a.png"]))] == ["a"]


def test_what_is_not_looked_at_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = own(tmp_path, ["a.jpg", "b.heic", "c.heic", "._a.jpg", "README"], ["a.png", "a.txt"])
    (source.images / "more").mkdir()
    images = "2 files of .heic, 1 files without suffix, 1 hidden files, 1 subfolders left out"
    expected = [f"{source.images}: {images}", f"{source.masks}: 1 files of .txt left out"]
    assert match_files(source).left_out == expected
    with caplog.at_level("INFO"):
        list_pairs(source)
    assert [record.getMessage() for record in caplog.records] == [f"{source.name}: {e}" for e in expected]


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    source = own(tmp_path, ["a.heic"], ["a.png"])
    (source.images / "part1").mkdir()
    with pytest.raises(PisamError, match=r"no image .*\(there are 1 files of .heic, 1 subfolders\);"):
        list_pairs(source)


@pytest.mark.parametrize("mask", ["A.png", "a_mask.png", "a.jpg.png", "a .png"])
def test_a_mask_of_nearly_the_name_is_mentioned(tmp_path: Path, mask: str) -> None:
    with pytest.raises(PisamError, match=rf"image without mask; .*there is {mask}, which"):
        list_pairs(own(tmp_path, ["a.jpg"], [mask]))
