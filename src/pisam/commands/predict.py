"""Write masks of the objects in a picture or a folder of them; pictures that are done are skipped.

    pisam predict [MODEL] images=PATH out=DIR [boxes=FILE|masks=DIR|box=X0,Y0,X1,Y1] [clicks=FILE]
            [tile=N|object] [image_size=N] [format=LIST] [workers=N] [devices=N] [overwrite=true]

MODEL: a checkpoint (.ckpt, .safetensors), a run's folder, or one that pisam export wrote (default: the
trained model of the repository, else the quick start's run).

group: Use
images=PATH: a picture, or a folder of them and of folders
out=DIR: mask/NAME.png and so on, by the names of the pictures; done.jsonl, what a second run skips
boxes=FILE: .csv with the columns image,x0,y0,x1,y1 in pixels, or COCO's .json
masks=DIR: rough masks by the names of the pictures; their boxes count
box=X0,Y0,X1,Y1: one box for all
clicks=FILE: .csv with the columns image,x,y,label (1 = object), or what pisam interact wrote; after the box
image_size=N: side of the frame (default: that of its training); 1024 shows more than 512, and takes longer
tile=N|object: look again at full resolution, in windows of N pixels or in one around the object; slower
format=LIST: some of [mask,soft,rgba,coco,polygons] (default: mask)
workers=N: threads that read, and as many that write (default: 2)
devices=N: GPUs (default: 1)
overwrite=true|false: begin anew and replace what is there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pisam.commands.shared.command import Arguments
from pisam.commands.shared.folders import Job, Record, content_of, list_pictures, say_left_out, work_through
from pisam.commands.shared.models import load_engines
from pisam.commands.shared.prompt_files import Box, Clicks, parse_box, read_boxes, read_click_file
from pisam.core.errors import PisamError
from pisam.core.files import write_bytes, write_json
from pisam.core.lock import holding
from pisam.core.types import UInt8Array
from pisam.data.reading.reader import read_image, read_mask
from pisam.data.sources.segmentation import MAX_PIXELS, decode
from pisam.data.transforms import box_of, squash
from pisam.predictor import formats
from pisam.predictor.detail import SMALLEST_TILE, look_again
from pisam.predictor.engine import Engine, Prompt
from pisam.predictor.session import Answer, Session

Tile = int | Literal["object"] | None
AT_ONCE = 8  # objects whose answers are held


@dataclass(frozen=True)
class Picture:
    """A picture and the prompts for it."""

    stem: str
    path: Path
    boxes: list[Box]
    clicks: Clicks
    rough: Path | None = None

    @property
    def names(self) -> list[str]:
        """One per object; several are numbered."""
        count = len(self.boxes)
        return [f"{self.stem}_{index}" for index in range(1, count + 1)] if count > 1 else [self.stem]

    @property
    def categories(self) -> list[int]:
        """That of each object."""
        return [box.category for box in self.boxes] or [1]

    @property
    def reads(self) -> list[Path]:
        """Its files."""
        return [self.path, *filter(None, [self.rough])]


def run(arguments: Arguments) -> None:
    """Answer each picture, and write what is asked for."""
    options, out = arguments.own, arguments.path("out")
    wanted = options.get("format", "mask").strip("[]").replace(" ", "").split(",")
    if unknown := [each for each in wanted if each not in formats.MEDIA_TYPES]:
        raise PisamError(f"format: got {unknown[0]}, expected some of {', '.join(formats.MEDIA_TYPES)}")
    tile = _tile(options.get("tile"))
    workers, devices = arguments.number("workers", 2), arguments.number("devices", 1)
    images = list_pictures(arguments.path("images"), "images", but=out)
    pictures, categories = _prompted(images, arguments, out)
    engines = load_engines(arguments, devices)
    settings = {
        "command": "predict",
        "model": engines[0].model_identity(),
        **{key: options.get(key) for key in ("images", "boxes", "masks", "box", "clicks", "tile")},
        "format": wanted,
        "prompts": [content_of(options.get(key)) for key in ("boxes", "clicks")],
    }
    jobs = [Job(p.stem, p.reads, [out / file for file in _files(p, wanted)]) for p in pictures]
    with holding(out):
        record = Record(
            out,
            settings,
            jobs,
            partial(_is_row, pictures={p.stem: p for p in pictures} if "coco" in wanted else {}),
            also=[out / "coco.json"] if "coco" in wanted else [],
            overwrite=options.get("overwrite") == "true",
        )
        _answer_all(pictures, engines, record, out, wanted, categories, tile=tile, workers=workers)
    print(out)


def _answer_all(
    pictures: list[Picture],
    engines: list[Engine],
    record: Record,
    out: Path,
    wanted: list[str],
    categories: dict[int, str],
    *,
    tile: Tile,
    workers: int,
) -> None:
    rest = [picture for picture in pictures if picture.stem not in record.rows]
    if done := len(pictures) - len(rest):
        print(f"{done} of {len(pictures)} pictures are done already")

    def write(answered: tuple[Picture, UInt8Array, list[dict[str, Any]]]) -> None:
        picture, pixels, objects = answered
        for name, each in zip(picture.names, objects, strict=True):
            for kind in wanted:
                _write(kind, out, name, pixels, each)
        height, width = pixels.shape[:2]
        row: dict[str, Any] = {
            "image": picture.stem,
            "file_name": _name(picture),
            "width": width,
            "height": height,
        }
        if "coco" in wanted:
            row["annotations"] = [
                formats.coco_annotation(each["mask"], category_id=each["category"]) for each in objects
            ]
        record.add(row)

    try:
        work_through(
            rest, engines, _read, partial(_answer, tile=tile), write, workers=workers, what="predict"
        )
    finally:
        if "coco" in wanted:
            rows = [record.rows[p.stem] for p in pictures if p.stem in record.rows]
            write_json(formats.coco_file(rows, categories), out / "coco.json")


def _files(picture: Picture, wanted: Sequence[str]) -> list[str]:
    """The files of a picture's answer, relative to the output folder."""
    kinds = [kind for kind in wanted if kind != "coco"]
    return [f"{kind}/{name}.{formats.suffix_of(kind)}" for name in picture.names for kind in kinds]


def _is_row(row: dict[str, Any], *, pictures: Mapping[str, Picture]) -> bool:
    """True where what an earlier run noted of one of the `pictures` is what this one would have noted."""
    if (picture := pictures.get(row["image"])) is None:
        return True  # nothing is read from it
    height, width, given = row.get("height"), row.get("width"), row.get("annotations")
    if type(height) is not int or type(width) is not int or not isinstance(given, list):
        return False
    if min(height, width) < 1 or height * width > MAX_PIXELS or row.get("file_name") != _name(picture):
        return False
    try:
        expected = [
            formats.coco_annotation(decode(each["segmentation"], height, width), category_id=category)
            for each, category in zip(given, picture.categories, strict=True)
        ]
    except (ValueError, LookupError, TypeError):
        return False
    return given == expected


def _prompted(
    files: dict[str, Path], arguments: Arguments, out: Path
) -> tuple[list[Picture], dict[int, str]]:
    """The pictures to answer, and the categories of their objects; each has a prompt, all of one kind."""
    options = arguments.own
    given = [key for key in ("boxes", "masks", "box") if key in options]
    if len(given) > 1 or not (given or "clicks" in options):
        raise PisamError("predict: expected one of boxes=FILE, masks=DIR and box=x0,y0,x1,y1, or clicks=FILE")
    clicks: dict[str, Clicks] = {}
    if "clicks" in options:
        clicks = read_click_file(arguments.path("clicks"), files)
    boxes: dict[str, list[Box]] = {}
    rough: dict[str, Path] = {}
    categories = {1: "object"}
    if "box" in options:
        box = parse_box(options["box"])
        boxes = {stem: [box] for stem in files}
    elif "boxes" in options:
        boxes, categories = read_boxes(arguments.path("boxes"), files)
    elif "masks" in options:
        rough = list_pictures(arguments.path("masks"), "masks", but=out, like=files)
        say_left_out("masks, of which no picture is here", sorted(rough.keys() - files.keys()))
    asked = set(boxes) | set(rough) if given else set(clicks)
    say_left_out("pictures, which have no prompt", [stem for stem in files if stem not in asked])
    for stem, own in clicks.items():
        if not given and not any(label for _, _, label in own.points):
            raise PisamError(f"clicks: {stem} has none on the object (label 1); expected one, or a box too")
        if len(boxes.get(stem, [])) > 1:
            raise PisamError(
                f"clicks: {stem} has {len(boxes[stem])} boxes; expected one where clicks follow it"
            )
    pictures = [
        Picture(stem, path, boxes.get(stem, []), clicks.get(stem, Clicks()), rough.get(stem))
        for stem, path in files.items()
        if stem in asked
    ]
    if not pictures:
        raise PisamError(
            f"masks {options['masks']}: has a mask of none of the pictures; expected the same names"
        )
    return pictures, categories


def _read(picture: Picture) -> tuple[Picture, UInt8Array, list[tuple[float, float, float, float]]]:
    """The pixels, and the boxes in them."""
    pixels = read_image(picture.path)
    height, width = pixels.shape[:2]
    boxes = picture.boxes
    if picture.rough is not None:
        mask = read_mask(picture.rough)
        refuse_other_size(mask.shape, pixels.shape, picture.rough)
        x0, y0, x1, y1 = (float(edge) for edge in box_of(mask))
        boxes = [Box((x0, y0, x1, y1))]
    picture.clicks.refuse_outside(width, height, str(picture.path))
    return picture, pixels, [box.inside(width, height, str(picture.path)) for box in boxes]


def refuse_other_size(mask: tuple[int, ...], image: tuple[int, ...], path: Path) -> None:
    """Raise PisamError unless a mask has the height and width of its picture."""
    if mask[:2] != image[:2]:
        raise PisamError(
            f"{path}: {mask[1]}x{mask[0]} pixels, its picture has {image[1]}x{image[0]}; expected the same; "
            "mend it"
        )


def _answer(
    engine: Engine, read: tuple[Picture, UInt8Array, list[tuple[float, float, float, float]]], *, tile: Tile
) -> tuple[Picture, UInt8Array, list[dict[str, Any]]]:
    picture, pixels, boxes = read
    session = Session(engine)
    image = session.see(squash(pixels, engine.side), (pixels.shape[0], pixels.shape[1]))
    scale = np.tile(image.scale, 2)
    prompts = [Prompt(box=(np.array(box) * scale).astype(np.float32)) for box in boxes]
    if not prompts:
        prompts = [Prompt(points=tuple(image.in_frame(picture.clicks.points)))]
    answers: list[dict[str, Any]] = []
    for start in range(0, len(prompts), AT_ONCE):
        for answer in session.ask(prompts[start : start + AT_ONCE]):
            clicked = answer.after(picture.clicks.points) if boxes else answer
            answers.append({**_maps(clicked, pixels, tile), "category": picture.categories[len(answers)]})
    return picture, pixels, answers


def _tile(given: str | None) -> Tile:
    """Side of the windows of a second look, or `object` for one around it; None for no second look."""
    if given is None:
        return None
    if given == "object":
        return "object"
    if not given.isdecimal() or int(given) < SMALLEST_TILE:
        raise PisamError(f"tile: got {given}, expected object or a whole number of pixels >= {SMALLEST_TILE}")
    return int(given)


def _maps(answer: Answer, pixels: UInt8Array, tile: Tile) -> dict[str, Any]:
    logits = answer.network()
    if tile is not None:
        logits = look_again(answer.engine, pixels, logits, answer.clicks, None if tile == "object" else tile)
    logits = answer.obeying(logits)
    return {"mask": logits > 0, "soft": 1 / (1 + np.exp(-np.clip(logits, -80, 80)))}


def _write(kind: str, out: Path, name: str, pixels: UInt8Array, answer: dict[str, Any]) -> None:
    path = out / kind / f"{name}.{formats.suffix_of(kind)}"
    match kind:
        case "mask":
            write_bytes(formats.mask_png(answer["mask"]), path)
        case "soft":
            write_bytes(formats.soft_png(answer["soft"]), path)
        case "rgba":
            write_bytes(formats.rgba_png(pixels, answer["soft"]), path)
        case "polygons":
            height, width = pixels.shape[:2]
            parts = formats.polygons(answer["mask"])
            write_json({"width": width, "height": height, "polygons": parts}, path)


def _name(picture: Picture) -> str:
    return f"{picture.stem}{picture.path.suffix}"
