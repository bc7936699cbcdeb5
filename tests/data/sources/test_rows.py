"""Entries of a configuration become folders with a role, and every mistake is named."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.data_folders import touch
from pisam.core.errors import PisamError
from pisam.data.sources.known_sets import KNOWN_SETS, Layout
from pisam.data.sources.rows import Source, longest_parts, published_pairs, resolve_source, resolve_sources


def make(root: Path, layout: Layout) -> None:
    touch(root / layout.images)
    touch(root / layout.masks)
    if layout.names:
        touch((root / layout.names).parent, Path(layout.names).name)


@pytest.mark.parametrize(
    ("name", "layout"), [(name, layout) for name, known in KNOWN_SETS.items() for layout in known.layouts]
)
def test_every_layout_of_every_known_set_is_found(tmp_path: Path, name: str, layout: Layout) -> None:
    make(tmp_path, layout)
    source = resolve_source(name, tmp_path)
    assert source.name == name and source.role == KNOWN_SETS[name].role
    assert (source.images, source.masks) == (tmp_path / layout.images, tmp_path / layout.masks)
    assert source.names == (tmp_path / layout.names if layout.names else None)


def test_a_group_is_its_sets_in_the_layouts_that_it_counts(tmp_path: Path) -> None:
    for name in ("DIS5K-VD", "ThinObject5K-TE", "COIFT"):
        make(tmp_path, KNOWN_SETS[name].layouts[-1])
    make(tmp_path, KNOWN_SETS["HRSOD-TE"].layouts[0])  # the authors' own, with 400 images
    with pytest.raises(
        PisamError, match=r"HQSEG44K-VAL: .*thin_object_detection/HRSOD/images .*for HRSOD-TE"
    ):
        resolve_sources(["HQSEG44K-VAL"], tmp_path, training=False)
    make(tmp_path, KNOWN_SETS["HRSOD-TE"].layouts[1])
    sources = resolve_sources([{"name": "HQSEG44K-VAL", "limit": 2}], tmp_path, training=False)
    assert [source.name for source in sources] == ["DIS5K-VD", "HRSOD-TE", "ThinObject5K-TE", "COIFT"]
    assert sum(published_pairs(source) or 0 for source in sources) == 1537
    assert {(source.role, source.limit) for source in sources} == {("test", 2)}
    with pytest.raises(PisamError, match="must not be trained on"):
        resolve_sources(["HQSEG44K-VAL"], tmp_path, training=True)


def test_the_published_training_parts_are_the_papers_four() -> None:
    training = [name for name, known in KNOWN_SETS.items() if known.role == "train"]
    assert training == ["DIS5K-TR", "HRSOD-TR", "UHRSD-TR", "ThinObject5K-TR"]


def test_absent_set_says_which_layouts_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"HRSOD_release/HRSOD_test .*thin_object_detection/HRSOD/images"):
        resolve_source("HRSOD-TE", tmp_path)


def test_folder_of_several_parts_is_no_layout_without_its_list(tmp_path: Path) -> None:
    layout = KNOWN_SETS["ThinObject5K-TR"].layouts[1]
    make(tmp_path, layout)
    (tmp_path / str(layout.names)).unlink()
    with pytest.raises(PisamError, match="found none complete"):
        resolve_source("ThinObject5K-TR", tmp_path)


def test_row_is_relative_to_the_root_and_keeps_its_values(tmp_path: Path) -> None:
    images, masks = touch(tmp_path / "a/images"), touch(tmp_path / "a/masks")
    touch(tmp_path / "a", "part.txt")
    row = {"name": "a", "images": "a/images", "masks": "a/masks", "limit": 3, "weight": 2, "force": True}
    assert resolve_source(row, tmp_path) == Source("a", images, masks, "own", 3, 2.0, force=True)
    listed = resolve_source({**row, "names": "a/part.txt"}, tmp_path)
    assert listed.names == tmp_path / "a/part.txt"


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
        ({"name": "DIS5K-TR", "names": "x"}, "names needs images and masks"),
        ({"images": "x", "masks": "y"}, "name is None"),
        ({"name": "a/b", "images": "x", "masks": "y"}, "without '/'"),
        ({"name": "pooled", "images": "x", "masks": "y"}, "pooled means the images of all sets"),
        ({"name": "all images", "images": "x", "masks": "y"}, "all images means the images of all sets"),
        ({"name": "a", "images": "x", "masks": "y"}, "images: no folder .*x"),
        ({"name": "a", "images": 3, "masks": "y"}, "images is 3"),
        ({"name": "a", "images": ".", "masks": ".", "names": 3}, "names is 3, expected a text file"),
        ({"name": "a", "images": ".", "masks": ".", "names": "no.txt"}, "names: no file .*no.txt"),
        ({"name": "a", "images": ".", "masks": ".", "limit": 0}, "limit is 0"),
        ({"name": "a", "images": ".", "masks": ".", "weight": -1}, "weight is -1"),
        ({"name": "a", "images": ".", "masks": ".", "weight": "much"}, "weight is 'much'"),
        ({"name": "a", "images": ".", "masks": ".", "weight": 1e308}, "weight is 1e\\+308"),
        ({"name": "a", "images": ".", "masks": ".", "force": "yes"}, "force is 'yes'"),
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
        with pytest.raises(PisamError, match=r"must not be trained on.*force: true"):
            resolve_sources([entry], tmp_path, training=True)


def test_test_set_may_be_forced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path / "DIS5K/DIS-VD/im")
    touch(tmp_path / "DIS5K/DIS-VD/gt")
    with caplog.at_level(logging.WARNING):
        (source,) = resolve_sources([{"name": "DIS5K-VD", "force": True}], tmp_path, training=True)
    assert source.role == "test" and "training on DIS5K-VD" in caplog.text


def test_role_of_a_folder_of_several_parts_is_that_of_its_list(tmp_path: Path) -> None:
    for name in ("ThinObject5K-TR", "ThinObject5K-TE"):
        make(tmp_path, KNOWN_SETS[name].layouts[1])
    touch(tmp_path / "ThinObject5K/list", "mine.txt")
    row: dict[str, Any] = {"name": "mine", "images": "ThinObject5K/images", "masks": "ThinObject5K/masks"}
    for names, role in ((None, "test"), ("train", "train"), ("test", "test"), ("mine", "test")):
        entry = row if names is None else {**row, "names": f"ThinObject5K/list/{names}.txt"}
        assert resolve_source(entry, tmp_path).role == role, names


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    row = {"name": "a", "images": str(tmp_path), "masks": str(tmp_path)}
    with pytest.raises(PisamError, match="a: two entries"):
        resolve_sources([row, row], None, training=True)


def test_of_rows_that_differ_in_length_the_longest_is_kept(tmp_path: Path) -> None:
    source = Source("a", tmp_path, tmp_path)
    few, many, listed = replace(source, limit=2), replace(source, limit=5, weight=2.0), tmp_path / "list.txt"
    assert longest_parts([few, many, few]) == [many]
    assert longest_parts([many, source, few]) == [source] == longest_parts([source, few])
    other = replace(few, names=listed)
    assert longest_parts([few, other]) == [few, other]
