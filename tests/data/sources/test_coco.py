"""COCO files: every number checked before it is drawn, and nothing that vanishes without being counted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from helpers.odd_files import save
from pisam.core.errors import PisamError
from pisam.data.audit.audit import audit
from pisam.data.sources.coco import Shapes, open_coco
from pisam.data.sources.pairs import match_files
from pisam.data.sources.rows import Source
from pisam.data.sources.segmentation import decode

HEIGHT, WIDTH = 60, 80
LEFT = [[10, 10, 30, 10, 30, 30, 10, 30]]  # 400 pixels each
RIGHT = [[50, 10, 70, 10, 70, 30, 50, 30]]


def read_coco(file: Path) -> dict[str, Shapes]:
    return open_coco(file).shapes


def image(id_: Any = 1, name: str = "a.png", **changes: Any) -> dict:
    return {"id": id_, "file_name": name, "height": HEIGHT, "width": WIDTH, **changes}


def annotation(id_: Any, segmentation: Any, of: Any = 1, **changes: Any) -> dict:
    return {"id": id_, "image_id": of, "segmentation": segmentation, "iscrowd": 0, **changes}


def coco(folder: Path, images: list[dict], annotations: list[dict]) -> Path:
    file = folder / "labels.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    return file


def rle(*counts: Any, size: Any = (HEIGHT, WIDTH)) -> dict:
    return {"size": list(size), "counts": list(counts)}


WRONG: dict[str, tuple[Any, str]] = {
    "NaN": ([[10, 10, math.nan, 10, 30, 30, 10, 30]], r"point \(nan, 10\), far from its 80x60 frame"),
    "infinity": ([[10, 10, math.inf, 10, 30, 30]], r"point \(inf, 10\)"),
    "far": ([[10, 10, 1e9, 10, 30, 30]], r"point \(1e\+09, 10\)"),
    "far below": ([[10, 10, 20, -1e6, 30, 30]], r"point \(20, -1e\+06\)"),
    "400 digits": ([[10, 10, 10**400, 10, 30, 30]], "too large"),
    "7 numbers": ([[10, 10, 30, 10, 30, 30, 10]], "7 numbers"),
    "4 numbers": ([[10, 10, 30, 10]], "4 numbers"),
    "no number": ([[]], "0 numbers"),
    "text": ([["1", "1", "2", "2", "3", "3"]], "expected a list of numbers"),
    "truth": ([[True, 1, 2, 2, 3, 3]], "expected a list of numbers"),
    "flat": ([10, 10, 30, 10, 30, 30], "a polygon is 10"),
    "endless outline": ([[0, 0, 160, 120] * 20000], "an outline of"),
    "huge size": (rle(0, 600, 4200, size=(10**6, 10**6)), "annotation 1 is 1000000x1000000, its image 80x60"),
    "negative size": (rle(0, 4800, size=(-60, -80)), "its image 80x60"),
    "turned size": (rle(0, 4800, size=(WIDTH, HEIGHT)), "annotation 1 is 60x80"),
    "short": (rle(0, 600), "add up to 600; expected 4800"),
    "long": (rle(0, 600, 5000), "add up to 5600"),
    "negative": (rle(0, -600, 5400), "are negative"),
    "half": (rle(0.5, 4799.5), r"counts is \[0\.5"),
    "beyond 64 bits": (rle(0, 2**63), "counts is"),
    "sums to 0 in 64 bits": (rle(*[2**62] * 4, 4800), "add up to"),
    "no counts": (rle(), r"counts is \[\]"),
    "counts of text": (rle("1", "2"), "counts is"),
    "only a size": ({"size": [HEIGHT, WIDTH]}, "size and counts"),
    "empty text": ({"size": [HEIGHT, WIDTH], "counts": ""}, "empty"),
    "short text": ({"size": [HEIGHT, WIDTH], "counts": "0h2"}, "add up to"),
    "cut-off text": ({"size": [HEIGHT, WIDTH], "counts": "0h"}, "cut off"),
    "other text": ({"size": [HEIGHT, WIDTH], "counts": "0\u20ac"}, "characters that none has"),
    "long number": ({"size": [HEIGHT, WIDTH], "counts": "0" + "o" * 40 + "0"}, "too large"),
    "text of nothing": ("polygons", "expected a list of polygons"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_numbers_are_named_with_file_and_annotation(tmp_path: Path, name: str) -> None:
    segmentation, message = WRONG[name]
    file = coco(tmp_path, [image()], [annotation(1, segmentation)])
    with pytest.raises(PisamError, match=message) as caught:
        read_coco(file)["a.png"].mask()
    text = str(caught.value)
    assert text.startswith(f"{file}: annotation 1") and "expected" in text and "\n" not in text


def test_what_reaches_over_the_edge_is_cut_there(tmp_path: Path) -> None:
    over = [[-5.5, -3, 100, -3, 100, 70, -5.5, 70]]
    assert read_coco(coco(tmp_path, [image()], [annotation(1, over)]))["a.png"].mask().all()


@pytest.mark.parametrize("seed", range(5))
def test_codes_are_those_of_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        height, width = rng.integers(1, 70, 2).tolist()
        mask = rng.random((height, width)) < rng.choice([0, 0.02, 0.5, 0.98, 1])
        code = coco_masks.encode(np.asfortranarray(mask.view(np.uint8)))
        text = {"size": [height, width], "counts": code["counts"].decode()}
        np.testing.assert_array_equal(decode(text, height, width), mask)
        runs = np.diff(
            np.flatnonzero(np.diff(mask.T.ravel(), prepend=False, append=not mask.T.ravel()[-1])), prepend=0
        )
        listed = {"size": [float(height), str(width)], "counts": [float(run) for run in runs]}
        np.testing.assert_array_equal(decode(listed, height, width), mask)
        polygons = [(rng.random(2 * rng.integers(3, 9)) * 2 * width - width / 2).tolist() for _ in range(3)]
        polygons = [np.clip(polygon, -height, 2 * height).tolist() for polygon in polygons]
        with np.testing.suppress_warnings() as quiet:
            quiet.filter(DeprecationWarning)
            union = coco_masks.decode(coco_masks.frPyObjects(polygons, height, width)).any(axis=2)
        np.testing.assert_array_equal(decode(polygons, height, width), union)


@pytest.mark.parametrize(
    ("images", "annotations", "message"),
    [
        (
            [image()],
            [annotation(0, LEFT), annotation(0, RIGHT)],
            "annotation 0: two annotations of image a.png",
        ),
        ([image()], [annotation(1, LEFT), annotation("1", RIGHT)], "annotation 1: two annotations"),
        (
            [image(1), image(2)],
            [annotation(1, LEFT), annotation(2, RIGHT, 2)],
            "file_name a.png is that of image 1",
        ),
        ([image(1), image(1.0, "b.png")], [annotation(1, LEFT)], "image 1: two images have this id"),
        ([image(1), image("1", "b.png")], [annotation(1, LEFT)], "image 1: two images have this id"),
        ([image(None)], [], "image of id None"),
        ([image(1, "../a.png")], [], "below the folder"),
        ([image(1, "/a.png")], [], "below the folder"),
        ([image(1, "a\0.png")], [], "below the folder"),
        ([image(1, "")], [], "below the folder"),
        ([image(1, "a/" * 3000 + "a.png")], [], "below the folder"),
        ([image(1, "a" * 300 + ".png")], [], "below the folder"),
        ([image(1), image(2, "./a.png")], [], "image 2: its file_name a.png is that of image 1"),
        ([image(height=0)], [], "image 1: height 0"),
        ([image(width=1e9)], [], "image 1: height 60 and width 1000000000"),
        ([image(width="wide")], [], "width 'wide'"),
        ([image()], [annotation("x", LEFT)], "annotation 'x': expected a whole number"),
        ([image()], [annotation(1, LEFT, iscrowd=2)], "annotation 1: iscrowd is 2"),
    ],
)
def test_two_meanings_of_one_thing_are_refused_by_name(
    tmp_path: Path, images: list, annotations: list, message: str
) -> None:
    with pytest.raises(PisamError, match=message) as caught:
        read_coco(coco(tmp_path, images, annotations))
    assert str(tmp_path / "labels.json") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("id_", "of"), [(1, "1"), ("1", 1), (1.0, 1), (1, 1.0), ("1", 1.0), ("x", "x")])
def test_ids_are_compared_as_what_they_mean(tmp_path: Path, id_: Any, of: Any) -> None:
    file = coco(tmp_path, [image(id_)], [annotation(1, LEFT, of), annotation("2", RIGHT, of)])
    assert read_coco(file)["a.png"].mask().sum() == 800


@pytest.mark.parametrize("crowd", [1, 1.0, "1", True])
def test_crowds_and_the_like_are_counted(tmp_path: Path, crowd: Any) -> None:
    for name in ("a.png", "b.png"):
        save(
            np.random.default_rng(len(name)).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8),
            tmp_path / name,
        )
    file = coco(
        tmp_path,
        [image(), image(2, "b.png")],
        [
            annotation(1, LEFT, iscrowd="0"),
            annotation(2, RIGHT, iscrowd=crowd),
            annotation(3, [], 2),
            annotation(4, None, 2, iscrowd=None),
            annotation(5, LEFT, 7),
        ],
    )
    source = Source("set", tmp_path, file, annotated=True)
    left_out = [text.removeprefix(f"{file}: ") for text in match_files(source).left_out]
    assert left_out == [
        "1 crowd annotations left out",
        "2 annotations without a segmentation left out",
        "1 annotations of no image in the file left out",
        "1 images without a segmentation left out",
        f"{tmp_path}: 1 pictures without a segmentation in the file left out",
        f"{tmp_path}: 1 files of .json left out",
    ]
    result = audit([("train", source)])
    assert [finding.problem.endswith("left out") for finding in result.of("note")] == [True] * 6
    assert result.sources[0].shares == pytest.approx([400 / HEIGHT / WIDTH])


def test_subfolders_that_names_lead_to_are_looked_at_as_the_folder_is(tmp_path: Path) -> None:
    """Their pictures go by either Unicode form of a name, and are counted where nothing names them."""
    images = tmp_path / "images"
    for name in ("x/one/e\u0301.png", "x/one/b.png", "x/c.png", "y/d.png", "a.png"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).touch()
    (images / "x" / "one" / "list.txt").touch()
    file = coco(
        tmp_path,
        [image(1, "a.png"), image(2, "x/one/\u00e9.png")],
        [annotation(1, LEFT), annotation(2, LEFT, 2)],
    )
    matched = match_files(Source("set", images, file, annotated=True))
    assert [pair.image for pair in matched.pairs] == [images / "a.png", images / "x/one/e\u0301.png"]
    assert (matched.gaps, matched.left_out) == (
        [],
        [
            f"{images}: 1 subfolders left out",
            f"{images / 'x'}: 1 pictures without a segmentation in the file left out",
            f"{images / 'x/one'}: 1 pictures without a segmentation in the file left out",
            f"{images / 'x/one'}: 1 files of .txt left out",
        ],
    )


def test_annotations_without_a_pixel_are_counted(tmp_path: Path) -> None:
    save(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8), tmp_path / "a.png")
    tiny, outside = [[5.1, 5.1, 5.2, 5.1, 5.2, 5.2]], [[-20, 10, -10, 10, -10, 30]]
    annotations = [annotation(1, LEFT), annotation(2, tiny), annotation(3, outside), annotation(4, rle(4800))]
    file = coco(tmp_path, [image()], annotations)
    assert read_coco(file)["a.png"].areas() == {1: 400, 2: 0, 3: 0, 4: 0}
    notes = audit([("train", Source("set", tmp_path, file, annotated=True))]).of("note")
    assert f"{file}: 3 annotations without a pixel in the frame left out, the first of a.png" in [
        note.problem for note in notes
    ]


def test_nothing_is_drawn_in_a_frame_that_is_not_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(np.zeros((HEIGHT, WIDTH, 3), np.uint8), tmp_path / "a.png")
    file = coco(tmp_path, [image(height=12600, width=12600)], [annotation(1, LEFT)])
    monkeypatch.setattr("pisam.data.sources.coco.decode", lambda *_: pytest.fail("drawn"))
    (error,) = audit([("train", Source("set", tmp_path, file, annotated=True))]).of("error")
    assert "the mask is 12600x12600 but its image" in error.problem


def test_a_list_of_names_and_a_coco_file_are_compared(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        save(np.zeros((HEIGHT, WIDTH, 3), np.uint8), tmp_path / name)
    file, names = coco(tmp_path, [image()], [annotation(1, LEFT)]), tmp_path / "part.txt"
    source = Source("set", tmp_path, file, annotated=True, names=names)
    for text, lost in (("a\nb\nzzz\n", ["b", "zzz"]), ("zzz.jpg", ["zzz"])):
        names.write_text(text)
        matched = match_files(source)
        assert [pair.id for pair in matched.pairs] == ["a"] * ("a" in text)
        assert [problem for _, problem in matched.gaps] == [
            f"{names}: lists {stem}, but {file} has no segmentation of such an image; mend one of them"
            for stem in lost
        ]
    names.write_text("a.png\n")
    assert match_files(source).gaps == [] and "pictures" not in " ".join(match_files(source).left_out)
    names.write_text("\n")
    with pytest.raises(PisamError, match=r"part\.txt: lists nothing"):
        match_files(source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [], "images": [], "annotations": []}', "has the key images twice"),
        ("[" * 100_000, "nested too deep"),
        ('{"images": 3, "annotations": []}', "TypeError"),
        ("[]", "TypeError"),
        ("\ufeff{", "JSONDecodeError"),
        ("null", "TypeError"),
        ('{"images": [1], "annotations": []}', "TypeError"),
        ('{"images": [], "annotations": [[]]}', "AttributeError"),
    ],
)
def test_what_is_no_coco_file_is_one_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "labels.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PisamError, match=rf"labels\.json: no COCO annotations \(.*({message})") as caught:
        read_coco(file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_mark_of_byte_order_is_no_part_of_the_file(tmp_path: Path) -> None:
    file = coco(tmp_path, [image()], [annotation(1, LEFT)])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_coco(file)["a.png"].mask().sum() == 400


@pytest.mark.parametrize("number", [2**63, 2**64 + 1, 10**100])
@pytest.mark.parametrize("key", ["id", "image_id", "height", "width", "area", "category_id"])
def test_number_beyond_64_bits_is_itself_or_one_line(tmp_path: Path, key: str, number: int) -> None:
    of_image, of_object = {}, {}
    (of_image if key in ("height", "width") else of_object)[key] = number
    id_ = number if key == "image_id" else 1
    file = coco(tmp_path, [image(id_, **of_image)], [{**annotation(1, LEFT), **of_object}])
    try:
        shapes = read_coco(file)
    except PisamError as error:
        assert str(file) in str(error) and "\n" not in str(error)
    else:
        assert shapes["a.png"].mask().sum() == 400
