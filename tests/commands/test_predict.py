"""`pisam predict` on pictures of every kind, and what it says to bad input."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unicodedata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from helpers.exported import pisam, small_model, write_checkpoint
from pisam import PiSamPredictor, load_model
from pisam.commands.shared.folders import list_pictures
from pisam.commands.shared.prompt_files import Clicks, read_click_file
from pisam.core.errors import PisamError
from pisam.core.lock import holding
from pisam.data.reading.reader import read_image
from pisam.onnx import OnnxPredictor

SOURCE = Path(__file__).resolve().parents[2] / "src"
BOX = "10,5,60,40"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A JPEG that must be turned, a grey PNG in a folder, and one with a dot in its name."""
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    (folder / "sub").mkdir(parents=True)
    pixels = rng.integers(0, 256, (80, 50, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored 50 pixels wide, seen 80
    Image.fromarray(pixels).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(pixels[..., 0]).resize((90, 60)).save(folder / "sub" / "grey.png")
    Image.fromarray(pixels).resize((70, 64)).save(folder / "a.b#c.png")
    return folder


def test_every_format_of_every_picture(exported: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wanted = "format=[mask,soft,rgba,coco,polygons]"
    assert pisam("predict", exported, f"images={pictures}", f"out={out}", f"box={BOX}", wanted) == 0
    coco = COCO(str(out / "coco.json"))
    assert len(coco.imgs) == len(coco.anns) == 3
    predictor = OnnxPredictor(exported)
    for image in coco.imgs.values():
        file = pictures / image["file_name"]
        pixels = read_image(file)
        assert (image["height"], image["width"]) == pixels.shape[:2]
        predictor.set_image(pixels)
        expected = predictor.set_box([float(edge) for edge in BOX.split(",")])
        stem = file.relative_to(pictures).with_suffix("").as_posix()
        mask = np.asarray(Image.open(out / "mask" / f"{stem}.png"))
        np.testing.assert_array_equal(mask, expected * np.uint8(255))
        soft = np.asarray(Image.open(out / "soft" / f"{stem}.png"))
        np.testing.assert_allclose(soft / 255, predictor.soft_mask, atol=0.002 + 0.5 / 255)
        cut_out = np.asarray(Image.open(out / "rgba" / f"{stem}.png"))
        np.testing.assert_array_equal(cut_out, np.dstack([pixels, soft]))
        annotation = coco.imgToAnns[image["id"]][0]
        np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), expected)
        assert annotation["area"] == expected.sum()
        parts = json.loads((out / "polygons" / f"{stem}.json").read_text())
        np.testing.assert_array_equal(filled(parts["polygons"], expected.shape), expected)


def filled(parts: list[dict], shape: tuple[int, ...]) -> np.ndarray:
    """The mask of polygons, as `formats.polygons` says that it is drawn."""
    mask = np.zeros(shape, np.uint8)
    for part in parts:
        layer = np.zeros_like(mask)
        cv2.fillPoly(layer, [np.array(part["outer"], np.int32)], 1)
        for hole in part["holes"]:
            inside, line = np.zeros_like(mask), np.array(hole, np.int32)
            cv2.fillPoly(inside, [line], 1)
            cv2.polylines(inside, [line], True, 0)
            layer[inside == 1] = 0
        mask |= layer
    return mask.astype(bool)


def test_a_second_run_skips_what_is_done_and_overwrites_nothing(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["predict", exported, f"images={pictures}", f"out={out}", f"box={BOX}"]
    assert pisam(*arguments) == 0
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    (out / "mask" / "sub" / "grey.png").write_bytes(b"edited by hand")
    assert pisam(*arguments) == 0
    assert "3 of 3 pictures are done already" in capsys.readouterr().out
    assert (out / "mask" / "sub" / "grey.png").read_bytes() == b"edited by hand"
    assert all(path.stat().st_mtime_ns == then for path, then in times.items() if path.stem != "grey")
    assert pisam(*arguments[:-1], "box=1,1,40,40") == 2
    assert "begun with another box; give another out=" in capsys.readouterr().err
    (out / "done.jsonl").unlink()
    assert pisam(*arguments) == 2
    assert "exists already; give another out=, or overwrite=true" in capsys.readouterr().err
    assert pisam(*arguments, "overwrite=true") == 0
    assert Image.open(out / "mask" / "sub" / "grey.png").size == (90, 60)


def test_boxes_of_files_and_rough_masks(exported: Path, pictures: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\nsub/grey.png,10,5,60,40\ngrey,0,0,30,30\na.b#c,5,5,60,60.5\n")
    arguments = ["predict", exported, f"images={pictures}"]
    assert pisam(*arguments, f"out={tmp_path / 'csv'}", f"boxes={boxes}") == 0
    assert sorted(path.name for path in (tmp_path / "csv").rglob("*.png")) == [
        "a.b#c.png",
        "grey_1.png",
        "grey_2.png",
    ]
    coco = {
        "images": [{"id": 7, "file_name": "grey.png", "width": 90, "height": 60}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 5, 50, 35]}],
        "categories": [{"id": 3, "name": "leaf"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    out = tmp_path / "coco"
    assert pisam(*arguments, f"out={out}", f"boxes={tmp_path / 'boxes.json'}", "format=[mask,coco]") == 0
    first = (tmp_path / "csv" / "mask" / "sub" / "grey_1.png").read_bytes()
    assert (out / "mask" / "sub" / "grey.png").read_bytes() == first
    answer = json.loads((out / "coco.json").read_text())
    assert answer["categories"] == coco["categories"] and answer["annotations"][0]["category_id"] == 3
    rough = np.zeros((60, 90), np.uint8)
    rough[5:40, 10:60] = 255
    (tmp_path / "rough" / "sub").mkdir(parents=True)
    Image.fromarray(rough).save(tmp_path / "rough" / "sub" / "grey.png")
    out = tmp_path / "masks"
    assert pisam(*arguments, f"out={out}", f"masks={tmp_path / 'rough'}") == 0
    assert (out / "mask" / "sub" / "grey.png").read_bytes() == first


@pytest.fixture
def large(tmp_path: Path) -> Path:
    image = tmp_path / "large.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (150, 200, 3), dtype=np.uint8)).save(image)
    return image


def test_a_second_look_in_tiles_is_the_predictors(exported: Path, large: Path, tmp_path: Path) -> None:
    out, box = tmp_path / "out", (20, 20, 70, 80)
    assert pisam("predict", exported, f"images={large}", f"out={out}", "box=20,20,70,80", "tile=64") == 0
    predictor = OnnxPredictor(exported)
    predictor.set_image(read_image(large))
    first = predictor.set_box(box)
    mask = np.asarray(Image.open(out / "mask" / "large.png")) > 0
    np.testing.assert_array_equal(mask, predictor.detailed(tile=64))
    assert (mask != first).any()


@pytest.mark.parametrize(("given", "tile"), [("object", None), ("64", 64)])
def test_what_a_second_look_sees_is_written(
    exported: Path, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, tile: int | None
) -> None:
    asked: list[int | None] = []

    def opposite(engine: Any, pixels: Any, logits: Any, clicks: Any, tile: int | None) -> Any:
        asked.append(tile)
        return -logits

    arguments = ["predict", exported, f"images={large}", "box=20,20,70,80"]
    assert pisam(*arguments, f"out={tmp_path / 'first'}") == 0
    monkeypatch.setattr("pisam.commands.predict.look_again", opposite)
    assert pisam(*arguments, f"out={tmp_path / 'again'}", f"tile={given}") == 0
    first, again = (np.asarray(Image.open(tmp_path / n / "mask" / "large.png")) for n in ("first", "again"))
    assert asked == [tile] and np.array_equal(again, 255 - first)


@pytest.mark.parametrize("tile", ["0", "63", "-64", "1e3", "whole", ""])
def test_another_tile_is_refused(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tile: str
) -> None:
    out = tmp_path / "out"
    assert pisam("predict", exported, f"images={pictures}", f"out={out}", f"box={BOX}", f"tile={tile}") == 2
    assert "tile" in capsys.readouterr().err and not out.exists()


def test_clicks_of_a_file_are_obeyed(exported: Path, pictures: Path, tmp_path: Path) -> None:
    clicks = tmp_path / "clicks.csv"
    clicks.write_text("image,x,y,label\ngrey,15.5,20.5,1\ngrey,70.5,50.5,0\n")
    out = tmp_path / "out"
    image = pictures / "sub" / "grey.png"
    assert pisam("predict", exported, f"images={image}", f"out={out}", f"box={BOX}", f"clicks={clicks}") == 0
    mask = np.asarray(Image.open(out / "mask" / "grey.png"))
    assert mask[20, 15] == 255 and mask[50, 70] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "none.ckpt"}, "model none.ckpt: no such file or folder"),
        ({"box": "10,5,600,40"}, "box 10, 5, 600, 40, expected 0 <= x0 < x1 <= "),
        ({"box": "10,5,60"}, "box: got 10,5,60, expected x0,y0,x1,y1"),
        ({"box": None}, "expected one of boxes=FILE, masks=DIR and box="),
        ({"images": "absent"}, "images absent: No such file or directory"),
        ({"format": "[tiff]"}, "format: got tiff, expected some of mask, soft"),
        ({"boxes": "absent.csv", "box": None}, "boxes absent.csv: FileNotFoundError"),
        ({"workers": "0"}, "workers: got 0, expected a whole number >= 1"),
        ({"image_size": "128"}, "image_size: an exported model has one frame"),
        ({"devices": "2"}, "devices: got 2, an exported model takes one"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input_is_one_line(
    exported: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict,
    message: str,
) -> None:
    given = {"images": pictures, "out": tmp_path / "out", "box": BOX} | change
    model = given.pop("model", exported)
    assert pisam("predict", model, *(f"{key}={value}" for key, value in given.items() if value)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_an_unreadable_picture_is_named_and_finished_files_stay(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (pictures / "turned.jpg").read_bytes()
    (pictures / "turned.jpg").write_bytes(whole[:500])
    out = tmp_path / "out"
    arguments = ["predict", exported, f"images={pictures}", f"out={out}", f"box={BOX}", "workers=1"]
    assert pisam(*arguments) == 2
    assert "turned.jpg: damaged or truncated" in capsys.readouterr().err
    for path in out.rglob("*.png"):
        Image.open(path).load()
    (pictures / "turned.jpg").write_bytes(whole)
    assert pisam(*arguments) == 0
    assert len(list(out.rglob("*.png"))) == 3


def test_a_checkpoint_answers_in_the_frame_asked_for(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_checkpoint(small_model(64), tmp_path / "small.ckpt")
    given = ["predict", model, f"images={pictures / 'turned.jpg'}", f"box={BOX}", "format=soft"]
    assert pisam(*given, f"out={tmp_path / 'out'}", "image_size=128") == 0
    predictor = PiSamPredictor(load_model(model, image_size=128))
    predictor.set_image(read_image(pictures / "turned.jpg"))
    predictor.set_box([float(side) for side in BOX.split(",")])
    written = np.asarray(Image.open(tmp_path / "out" / "soft" / "turned.png"))
    assert np.abs(written - 255 * predictor.soft_mask).max() <= 1
    capsys.readouterr()
    assert pisam(*given, f"out={tmp_path / 'other'}", "image_size=100") == 2
    assert "image_size must be a positive multiple of 64" in capsys.readouterr().err


def test_masks_of_another_size_are_named(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rough").mkdir()
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(tmp_path / "rough" / "turned.png")
    given = f"masks={tmp_path / 'rough'}"
    assert pisam("predict", exported, f"images={pictures}", f"out={tmp_path / 'out'}", given) == 2
    assert "turned.png: 9x9 pixels, its picture has 80x50" in capsys.readouterr().err


def test_a_full_disk_is_one_line(
    exported: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path, contents: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert pisam("predict", exported, f"images={pictures}", f"out={tmp_path / 'out'}", f"box={BOX}") == 2
    error = capsys.readouterr().err
    assert "not written: No space left" in error and error.count("\n") == 1


def test_ctrl_c_leaves_whole_files_and_a_run_to_go_on_with(exported: Path, tmp_path: Path) -> None:
    folder, out, rng = tmp_path / "many", tmp_path / "out", np.random.default_rng(0)
    folder.mkdir()
    for index in range(300):
        Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    arguments = [
        "predict",
        str(exported),
        f"images={folder}",
        f"out={out}",
        f"box={BOX}",
        "format=[mask,coco]",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "pisam.cli", *arguments],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stderr=subprocess.PIPE,
    )
    end = time.monotonic() + 120
    while not list((out / "mask").glob("[0-9]*.png")) and time.monotonic() < end:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    done = list((out / "mask").glob("*.png"))
    assert 0 < len(done) < 300
    for path in done:
        assert Image.open(path).size == (90, 60)
    assert len(COCO(str(out / "coco.json")).anns) <= len(done)
    for index in range(20, 300):  # the rest would take long
        (folder / f"{index}.png").unlink()
    assert pisam(*arguments) == 0
    assert len(COCO(str(out / "coco.json")).anns) == 20


def predicted(exported: Path, images: Path, out: Path, *more: object) -> int:
    return pisam("predict", exported, f"images={images}", f"out={out}", *more)


@pytest.mark.parametrize("line", ["xx", "null", "[]", '"a"', "[" * 100_000, '{"settings": null}', ""])
def test_a_record_of_something_else_is_refused(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "done.jsonl").write_text(f"{line}\n")
    assert predicted(exported, pictures, tmp_path / "out", f"box={BOX}") == 2
    error = capsys.readouterr().err
    assert "done.jsonl: not written by this command; give another out=" in error and error.count("\n") == 1


def test_damaged_lines_of_a_record_are_answered_again(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of two threads that wrote when the disk was full."""
    out, arguments = tmp_path / "out", [f"box={BOX}", "format=[mask,coco]"]
    assert predicted(exported, pictures, out, *arguments) == 0
    whole = (out / "coco.json").read_bytes()
    head, first, second, third = (out / "done.jsonl").read_text().splitlines()
    damaged = [head, first[:30] + second, "[1]", '{"image": 3}', third, first[:9]]
    (out / "done.jsonl").write_text("\n".join(damaged))
    assert predicted(exported, pictures, out, *arguments) == 0
    assert "1 of 3 pictures are done already" in capsys.readouterr().out
    assert (out / "coco.json").read_bytes() == whole


CHANGES: list[dict[str, Any]] = [
    {"file_name": "../../etc/passwd"},
    {"width": -5},
    {"width": 90.0},
    {"height": 10**9},
    {"annotations": []},
    {"annotations": [{"segmentation": None}]},
    {"annotations": [5]},
    {"area": 1},
    {"category_id": 9},
    {"bbox": "8888"},
    {"more": 1},
]


def test_edited_rows_of_a_record_are_answered_again(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for index in range(len(CHANGES)):
        shutil.copy(pictures / "sub" / "grey.png", tmp_path / "in" / f"{index:02}.png")
    arguments = [tmp_path / "in", tmp_path / "out", f"box={BOX}", "format=coco"]
    assert predicted(exported, *arguments) == 0
    whole, record = (tmp_path / "out" / "coco.json").read_bytes(), tmp_path / "out" / "done.jsonl"
    head, *rows = map(json.loads, record.read_text().splitlines())
    for row, change in zip(rows, CHANGES, strict=True):
        own = row if change.keys() & row.keys() else row["annotations"][0]
        own |= change
    record.write_text("".join(f"{json.dumps(line)}\n" for line in (head, *rows)))
    assert predicted(exported, *arguments) == 0
    assert "done already" not in capsys.readouterr().out
    assert (tmp_path / "out" / "coco.json").read_bytes() == whole
    assert predicted(exported, *arguments) == 0
    assert f"{len(CHANGES)} of {len(CHANGES)} pictures are done already" in capsys.readouterr().out


def test_what_changed_since_is_answered_again_or_refused(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, boxes = tmp_path / "out", tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\ngrey,10,5,60,40\na.b#c,5,5,60,60\n")
    assert predicted(exported, pictures, out, f"boxes={boxes}") == 0
    grey, other = out / "mask" / "sub" / "grey.png", out / "mask" / "a.b#c.png"
    before = grey.read_bytes()
    Image.open(pictures / "sub" / "grey.png").rotate(180).save(pictures / "sub" / "grey.png")
    other.unlink()
    assert predicted(exported, pictures, out, f"boxes={boxes}") == 0
    assert "2 pictures are answered again: they changed, or their answers are" in capsys.readouterr().out
    assert grey.read_bytes() != before and other.exists()
    boxes.write_text("image,x0,y0,x1,y1\ngrey,0,0,30,30\na.b#c,5,5,60,60\n")
    assert predicted(exported, pictures, out, f"boxes={boxes}") == 2
    assert "begun with another prompts" in capsys.readouterr().err


def test_another_checkpoint_of_the_same_sam_is_another_model(
    checkpoint: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small_model()
    with torch.no_grad():
        model.decoder.output_token.weight.add_(1)
    other = write_checkpoint(model, tmp_path / "other.ckpt")
    assert predicted(checkpoint, pictures, tmp_path / "out", f"box={BOX}") == 0
    assert predicted(other, pictures, tmp_path / "out", f"box={BOX}") == 2
    assert "begun with another model" in capsys.readouterr().err


def test_a_file_where_a_new_pictures_answer_belongs_stays(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predicted(exported, pictures, out, f"box={BOX}") == 0
    shutil.copy(pictures / "sub" / "grey.png", pictures / "new.png")
    (out / "mask" / "new.png").write_bytes(b"mine")
    assert predicted(exported, pictures, out, f"box={BOX}") == 2
    assert "new.png exists already" in capsys.readouterr().err
    (out / "mask" / "new.png").unlink()
    assert predicted(exported, pictures, out, f"box={BOX}") == 0
    assert "3 of 4 pictures are done already" in capsys.readouterr().out


def test_points_beside_the_object_alone_are_no_prompt(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clicks = tmp_path / "clicks.csv"
    clicks.write_text("image,x,y,label\ngrey,15.5,20.5,0\n")
    arguments = ("predict", exported, f"images={pictures}", f"out={tmp_path / 'out'}", f"clicks={clicks}")
    assert pisam(*arguments) == 2
    assert "clicks: sub/grey has none on the object (label 1)" in capsys.readouterr().err


def test_folders_that_are_links_are_entered_once(tmp_path: Path) -> None:
    picture, folder = tmp_path / "elsewhere" / "a.png", tmp_path / "images"
    for each in (picture.parent, folder / "sub"):
        each.mkdir(parents=True)
    Image.new("L", (8, 8)).save(picture)
    (folder / "linked").symlink_to(picture.parent)
    (folder / "sub" / "back").symlink_to(folder)
    assert list(list_pictures(folder, "images", but=tmp_path / "out")) == ["linked/a"]


def test_two_answers_never_share_a_file(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two objects of `a` are a_1 and a_2, and so is the one of a picture of that name."""
    for name in ("a", "a_1"):
        Image.fromarray(np.zeros((60, 90, 3), np.uint8)).save(tmp_path / f"{name}.png")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\na,5,5,40,40\na,20,20,60,50\na_1,5,5,50,50\n")
    assert predicted(exported, tmp_path, tmp_path / "out", f"boxes={boxes}") == 2
    assert "a_1.png: would hold an answer of a and one of a_1; rename one" in capsys.readouterr().err


def test_files_of_another_kind_and_of_several_objects_are_not_overwritten(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\ngrey,5,5,40,40\ngrey,20,20,60,50\n")
    for name in ("mask/sub/grey_2.png", "polygons/sub/grey_1.json", "coco.json"):
        out = tmp_path / name.replace("/", "-")
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text("mine")
        assert predicted(exported, pictures, out, f"boxes={boxes}", "format=[mask,polygons,coco]") == 2
        assert f"{out / name} exists already" in capsys.readouterr().err
        assert (out / name).read_text() == "mine"


def test_what_is_left_out_is_said(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("photo.heic", "._turned.jpg"):
        (pictures / name).write_bytes(b"x")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text('image,x0,y0,x1,y1\ngrey,5,5,40,40\n"o\nther\x1b[2J",1,1,9,9\nfar/off.png,1,1,9,9\n')
    assert predicted(exported, pictures, tmp_path / "out", f"boxes={boxes}") == 0
    printed = capsys.readouterr().out
    others = f"left out: 2 files of images {pictures}, which are no pictures: ._turned.jpg, photo.heic"
    assert others in printed
    assert (
        f"left out: 2 rows of boxes {boxes}, which name no picture here: o\\nther\\x1b[2J, far/off" in printed
    )
    assert "left out: 2 pictures, which have no prompt: a.b#c, turned" in printed


def test_answers_below_the_pictures_are_no_pictures(exported: Path, pictures: Path) -> None:
    for _ in range(2):
        assert predicted(exported, pictures, pictures / "out", f"box={BOX}") == 0
    assert len(list((pictures / "out").rglob("*.png"))) == 3


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PisamError, match=r"images .*/absent: No such file or directory; expected a folder"):
        list_pictures(tmp_path / "absent", "images", but=tmp_path / "out")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        (Path(folder) / "a.png").touch()
        (locked := Path(folder) / "locked").mkdir(mode=0)
        os.chmod(folder, 0o755)
        root = os.geteuid() == 0  # who may read everything
        try:
            if root:
                os.seteuid(65534)
            with pytest.raises(PisamError, match=f"images {locked}: Permission denied; expected a folder"):
                list_pictures(Path(folder), "images", but=tmp_path / "out")
        finally:
            if root:
                os.seteuid(0)
            locked.chmod(0o755)


def test_hidden_folders_are_passed_over(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pictures / "sub", pictures / ".thumbs" / "deep")
    assert predicted(exported, pictures, tmp_path / "out", f"box={BOX}") == 0
    assert len(list((tmp_path / "out").rglob("*.png"))) == 3
    assert "left out: 1 files of images" in capsys.readouterr().out


def test_the_folder_above_the_pictures_holds_answers_and_their_own_none(
    exported: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert predicted(exported, pictures, pictures.parent, f"box={BOX}") == 0
    assert "3 of 3 pictures are done already" in capsys.readouterr().out
    for out in (pictures, pictures / "sub" / ".."):
        assert predicted(exported, pictures, out, f"box={BOX}") == 2
        assert f"out {pictures}: the folder of images too; expected one of its own" in capsys.readouterr().err


def test_no_answer_replaces_what_is_read(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pictures, tmp_path / "mask")
    before = (tmp_path / "mask" / "a.b#c.png").read_bytes()
    assert predicted(exported, tmp_path / "mask", tmp_path, f"box={BOX}", "overwrite=true") == 2
    assert "c.png: is read, and an answer would replace it; give another out=" in capsys.readouterr().err
    assert (tmp_path / "mask" / "a.b#c.png").read_bytes() == before


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_masks_are_found_in_either_unicode_form(
    exported: Path, tmp_path: Path, forms: tuple[str, str]
) -> None:
    names = [unicodedata.normalize(form, "\u00e9.png") for form in forms]
    for folder, name in zip(("images", "masks"), names, strict=True):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((60, 90), 255, np.uint8)).save(tmp_path / folder / name)
    given = [f"images={tmp_path / 'images'}", f"masks={tmp_path / 'masks'}"]
    for verb, out in (("predict", tmp_path / "predicted"), ("refine", tmp_path / "refined")):
        clicks = [f"clicks={tmp_path / 'clicks.csv'}"] if verb == "refine" else []
        (tmp_path / "clicks.csv").write_text(f"image,x,y,label\n{names[1]},5,5,1\n")
        assert pisam(verb, exported, *given, *clicks, f"out={out}") == 0
        assert [path.name for path in out.rglob("*.png")] == [names[0]]


def test_two_unicode_forms_of_one_name_are_refused(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        (tmp_path / unicodedata.normalize(form, "\u00e9.png")).touch()
    with pytest.raises(PisamError, match="would have one answer; rename one"):
        list_pictures(tmp_path, "images", but=tmp_path / "out")


def test_two_at_once_are_refused(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with holding(tmp_path / "out"):
        assert predicted(exported, pictures, tmp_path / "out", f"box={BOX}") == 2
    assert "out: in use by process" in capsys.readouterr().err


HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"images": [], "annotations": [], "images": []}', "key images twice"),
        ([("a", 1), ("b", 1)], "image 1: two images have this id"),
        ([("grey.png", 1), ("grey.png", 2)], "image 2: its file_name grey.png is that of image 1 too"),
        (
            [("grey.png", 1), ("sub/grey", 2)],
            "two images there, image 1 and image 2, mean the picture sub/grey",
        ),
        ([("a", None)], "image of id None"),
        ([(5, 1)], "file_name 5; expected"),
        ({"category_id": "Infinity"}, "Infinity among the numbers"),
        ({"category_id": "1.5"}, "category_id is 1.5"),
        ({"bbox": f"[1, 1, 20, {HUGE}]"}, "annotation 0: int too large"),
        ({"bbox": "[1, 1, 20, true]"}, "annotation 0: True is no number of pixels"),
        (
            {"bbox": "[1, 1, 20]"},
            "annotation 0: bbox is a list of 3, expected a list of x, y, width and height",
        ),
        ({"bbox": '"8888"'}, "annotation 0: bbox is '8888', expected a list"),
        ({"bbox": '{"8": 0, "9": 0, "20": 0, "21": 0}', "id": "7"}, "annotation 7: bbox is a dict of 4"),
        ({"iscrowd": "2", "id": "7"}, "annotation 7: iscrowd is 2"),
        ({"id": '"x"'}, "annotation 'x': expected a whole number as its id"),
        ({"image_id": "7"}, "boxes.json: holds none that can be used"),
        (
            {"size": (640, 480)},
            "boxes.json: says that its picture has 640x480 pixels, but",
        ),
        ({"size": (0, 60)}, "image 1: height 60 and width 0; expected whole numbers"),
    ],
    ids=str,
)
def test_a_hostile_file_of_boxes_is_one_line(
    exported: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: Any,
    message: str,
) -> None:
    if not isinstance(content, str):
        images = content if isinstance(content, list) else [("grey.png", 1)]
        entry = {"bbox": "[1, 1, 20, 20]"} | (content if isinstance(content, dict) else {})
        size = dict(zip(("width", "height"), entry.pop("size", ()), strict=False))
        listed = json.dumps([{"id": id_, "file_name": name, **size} for name, id_ in images])
        meant = entry.pop("image_id", None)
        annotation = "".join(f', "{key}": {value}' for key, value in entry.items())
        rows = [f'{{"image_id": {meant or json.dumps(id_)}{annotation}}}' for _, id_ in images]
        content = f'{{"images": {listed}, "annotations": [{", ".join(rows)}]}}'
    (tmp_path / "boxes.json").write_text(content)
    assert predicted(exported, pictures, tmp_path / "out", f"boxes={tmp_path / 'boxes.json'}") == 2
    error = capsys.readouterr().err
    assert "boxes.json: " in error and message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", f"image,x,y,label\n{'a' * 200_000},1,2,1\n", "field larger than field limit"),
        ("c.csv", "image,x,x,y,label\ngrey,1,2,3,1\n", "a column is there twice"),
        ("c.csv", "image,x,y,label\ngrey,1,2,1,5\n", "line 2 has more cells than there are columns"),
        ("c.csv", "image,x,y,label\ngrey,1,nan,1\n", "'nan' is no number of pixels"),
        ("c.csv", "image,x,y\ngrey,1,2\n", "no column label among image, x, y; expected a .csv with"),
        ("c.json", '[{"x": 1, "y": 2, "label": 0.7}]', "label is 0.7"),
        ("c.json", '[{"x": 1, "y": 2, "label": true}]', "label is True"),
        ("c.json", '[{"x": true, "y": 2, "label": 1}]', "True is no number"),
        ("c.json", '[{"x": 1, "y": 2, "label": Infinity}]', "Infinity among the numbers"),
        ("c.json", "[5]", "TypeError"),
        ("c.json", {"width": 640, "height": 480}, "c.json: says that its picture has 640x480 pixels, but "),
        ("c.json", {"width": 640}, "width is 640, height None"),
        ("c.json", {"set": "A"}, "two images there, set 'A' and ?, mean the picture sub/grey"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_hostile_file_of_clicks_is_one_line(
    exported: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: Any,
    message: str,
) -> None:
    if isinstance(content, dict):
        entry = {"image": "grey", "clicks": [{"x": 1, "y": 2, "label": 1}]}
        content = json.dumps({"images": [entry | content] + [entry] * ("set" in content)})
    elif name == "c.json":
        content = f'{{"images": [{{"image": "grey", "clicks": {content}}}]}}'
    (tmp_path / name).write_text(content)
    assert predicted(exported, pictures, tmp_path / "out", f"clicks={tmp_path / name}") == 2
    error = capsys.readouterr().err
    assert f"{name}: " in error and message in error and error.count("\n") == 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize("key", ["boxes", "clicks", "done.jsonl"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    pipe = out / key if "." in key else tmp_path / f"{key}.csv"
    os.mkfifo(pipe)
    given = [f"{key}={pipe}"] if "." not in key else []
    given += [] if key == "boxes" else [f"box={BOX}"]
    assert pisam("predict", exported, f"images={pictures}", f"out={out}", *given) == 2
    error = capsys.readouterr().err
    assert f"{pipe}: " in error and "it is a pipe or a device, expected a file" in error
    assert error.count("\n") == 1


def test_a_table_that_names_no_picture_shows_a_name_of_its_own(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\n grey.png ,1,1,20,20\n")
    assert predicted(exported, pictures, tmp_path / "out", f"boxes={tmp_path / 'boxes.csv'}") == 2
    assert "names is ' grey.png '" in capsys.readouterr().err


def test_crowds_and_annotations_without_a_box_or_picture_are_counted(
    exported: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotation = {"image_id": 1, "bbox": [1, 1, 20, 20]}
    others = [annotation | {"iscrowd": 1}, {"image_id": 1}, annotation | {"bbox": []}, {"image_id": 9}]
    boxes = {"images": [{"id": 1, "file_name": "grey.png"}], "annotations": [annotation, *others]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert predicted(exported, pictures, tmp_path / "out", f"boxes={tmp_path / 'boxes.json'}") == 0
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["grey.png"]
    printed = capsys.readouterr().out
    for what in (
        "1 crowd annotations",
        "2 annotations without a bbox",
        "1 annotations of no image in the file",
    ):
        assert f"left out: {what} of boxes {tmp_path / 'boxes.json'}" in printed


@pytest.mark.parametrize(
    "content",
    [
        "image,x,y,label\n{},5,6,1\n",
        "image; x; y; label\n{}; 5.0; 6; 1.0\n",
        "label\ty\tx\timage\n1.0\t6\t5\t{}",
    ],
    ids=["plain", "semicolons and blanks", "tabs"],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_tables_as_others_write_them(tmp_path: Path, content: str, form: str) -> None:
    (tmp_path / "clicks.csv").write_text(
        content.format(unicodedata.normalize(form, "\u00e9.png")), "utf-8-sig"
    )
    for stem in ("\u00e9", "e\u0301"):
        found = read_click_file(tmp_path / "clicks.csv", {stem: Path(f"{stem}.png")})
        assert found == {stem: Clicks(((5.0, 6.0, 1),))}


def test_ids_of_boxes_are_compared_as_what_they_mean(exported: Path, pictures: Path, tmp_path: Path) -> None:
    boxes = {
        "images": [{"id": 7, "file_name": "grey.png"}],
        "annotations": [{"image_id": "7", "bbox": [1, 1, 20, 20], "category_id": 5.0}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(boxes), encoding="utf-8-sig")
    out = tmp_path / "out"
    assert predicted(exported, pictures, out, f"boxes={tmp_path / 'boxes.json'}", "format=coco") == 0
    answer = json.loads((out / "coco.json").read_text())
    assert answer["annotations"][0]["category_id"] == 5
    assert answer["categories"] == [{"id": 5, "name": "5"}]
