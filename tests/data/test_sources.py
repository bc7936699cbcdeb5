"""Entries of a configuration become folders, folders become pairs, and every gap is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pisam.data.sources import KNOWN_SETS, Source, list_pairs, resolve_source, resolve_sources
from pisam.errors import PisamError


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def own(tmp_path: Path, images: list[str], masks: list[str]) -> Source:
    return Source("mine", touch(tmp_path / "i", *images), touch(tmp_path / "m", *masks))


@pytest.mark.parametrize(
    ("name", "layout"), [(name, layout) for name, known in KNOWN_SETS.items() for layout in known.layouts]
)
def test_every_layout_of_every_known_set_is_found(tmp_path: Path, name: str, layout: tuple[str, str]) -> None:
    images, masks = (touch(tmp_path / folder) for folder in layout)
    source = resolve_source(name, tmp_path)
    assert (source.name, source.images, source.masks) == (name, images, masks)


def test_the_published_training_parts_are_the_papers_four() -> None:
    training = [name for name, known in KNOWN_SETS.items() if known.role == "train"]
    assert training == ["DIS5K-TR", "HRSOD-TR", "UHRSD-TR", "ThinObject5K-TR"]


def test_absent_set_says_which_layouts_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"HRSOD_release/HRSOD_test .*thin_object_detection/HRSOD/images"):
        resolve_source("HRSOD-TE", tmp_path)


def test_row_is_relative_to_the_root_and_keeps_limit_and_weight(tmp_path: Path) -> None:
    images, masks = touch(tmp_path / "a/images"), touch(tmp_path / "a/masks")
    row = {"name": "a", "images": "a/images", "masks": "a/masks", "limit": 3, "weight": 2}
    assert resolve_source(row, tmp_path) == Source("a", images, masks, "own", 3, 2.0)


def test_row_with_a_known_name_alone_takes_its_layout(tmp_path: Path) -> None:
    touch(tmp_path / "DIS5K/DIS-TR/im")
    touch(tmp_path / "DIS5K/DIS-TR/gt")
    source = resolve_source({"name": "DIS5K-TR", "limit": 5}, tmp_path)
    assert source.limit == 5 and source.role == "train"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("DIS5K-Tr", "unknown data set DIS5K-Tr; did you mean DIS5K-TR?"),
        ({"name": "a", "image": "x", "masks": "y"}, "unknown key image, .*did you mean images?"),
        ({"name": "a", "images": "x"}, "both images and masks"),
        ({"images": "x", "masks": "y"}, "name is None"),
        ({"name": "a/b", "images": "x", "masks": "y"}, "without '/'"),
        ({"name": "a", "images": "x", "masks": "y"}, "images: no folder .*x"),
        ({"name": "a", "images": 3, "masks": "y"}, "images is 3"),
        ({"name": "a", "images": ".", "masks": ".", "limit": 0}, "limit is 0"),
        ({"name": "a", "images": ".", "masks": ".", "weight": -1}, "weight is -1"),
        ({"name": "a", "images": ".", "masks": ".", "weight": "much"}, "weight is 'much'"),
    ],
)
def test_bad_entries_are_named(tmp_path: Path, entry: str | dict, message: str) -> None:
    with pytest.raises(PisamError, match=message):
        resolve_source(entry, tmp_path)


def test_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"no root folder .*absent"):
        resolve_source("DIS5K-TR", tmp_path / "absent")
    with pytest.raises(PisamError, match="PISAM_DATA_ROOT"):
        resolve_source("DIS5K-TR", None)


def test_test_sets_are_refused_in_training_also_under_another_name(tmp_path: Path) -> None:
    touch(tmp_path / "DIS5K/DIS-VD/im")
    touch(tmp_path / "DIS5K/DIS-VD/gt")
    renamed = {"name": "mine", "images": "DIS5K/DIS-VD/im", "masks": "DIS5K/DIS-VD/gt"}
    for entry in ("DIS5K-VD", renamed):
        assert resolve_sources([entry], tmp_path, training=False)[0].role == "test"
        with pytest.raises(PisamError, match="must not be trained on"):
            resolve_sources([entry], tmp_path, training=True)


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    row = {"name": "a", "images": str(tmp_path), "masks": str(tmp_path)}
    with pytest.raises(PisamError, match="a: two entries"):
        resolve_sources([row, row], None, training=True)


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
    limited = Source(source.name, source.images, source.masks, limit=2)
    assert [pair.id for pair in list_pairs(limited)] == ["a", "b"]


def test_gaps_in_folders_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"b.c.jpg: image without mask.*b.c.png"):
        list_pairs(own(tmp_path / "1", ["a.jpg", "b.c.jpg"], ["a.png", "b.png"]))
    with pytest.raises(PisamError, match="no image in this folder of mine"):
        list_pairs(own(tmp_path / "2", ["readme.txt"], ["a.png"]))
    with pytest.raises(PisamError, match=r"a.png: same stem as a.jpg"):
        list_pairs(own(tmp_path / "3", ["a.jpg", "a.png"], ["a.png"]))
    with pytest.raises(PisamError, match="gone: cannot be listed"):
        list_pairs(Source("mine", tmp_path / "gone", tmp_path))
