"""Boxes and clicks from files: COCO, CSV, folders of rough masks, and what `pisam interact` wrote."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pisam.commands.shared.folders import say_left_out
from pisam.core.errors import PisamError
from pisam.core.files import parse_json, read_text, shown
from pisam.core.types import Click
from pisam.data.sources.coco import annotations_of, images_of
from pisam.data.sources.pairs import one_form
from pisam.data.sources.segmentation import whole

BOXES = (
    "a .csv with the columns image,x0,y0,x1,y1, or COCO's JSON with images (id, file_name) and annotations "
    "(image_id, bbox)"
)
CLICKS = 'a .csv with the columns image,x,y,label, or JSON with "images", each with "image" and "clicks"'
BOX_COLUMNS, CLICK_COLUMNS = ("image", "x0", "y0", "x1", "y1"), ("image", "x", "y", "label")
LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}  # as they may be written
OVERHANG = 1.0  # pixels by which a box may stick out of its picture, as rounding makes it


class Said(NamedTuple):
    """The size of a picture, as a file of prompts says it."""

    width: int
    height: int
    file: Path

    def refuse_other(self, width: int, height: int, where: str) -> None:
        """Raise PisamError unless the picture `where` has that size."""
        if (width, height) != self[:2]:
            raise PisamError(
                f"{self.file}: says that its picture has {self.width}x{self.height} pixels, but {where} has "
                f"{width}x{height} (after EXIF rotation); expected the same; give the picture it is of"
            )


@dataclass(frozen=True)
class Box:
    """A prompt."""

    edges: tuple[float, float, float, float]  # x0, y0, x1, y1, in pixels of the upright picture
    category: int = 1  # of a COCO file, else 1
    size: Said | None = None  # of its picture, where the file says it

    def inside(self, width: int, height: int, where: str) -> tuple[float, float, float, float]:
        """The edges, cut off at the border of the picture where they stick out by a pixel at most.

        Raises:
            PisamError: without an area, outside of the picture, or on one of another size; begins with
                `where`.
        """
        if self.size is not None:
            self.size.refuse_other(width, height, where)
        x0, y0, x1, y1 = self.edges
        fits = -OVERHANG <= x0 < x1 <= width + OVERHANG and -OVERHANG <= y0 < y1 <= height + OVERHANG
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if not fits or x0 >= x1 or y0 >= y1:
            raise PisamError(
                f"{where}: box {', '.join(f'{edge:g}' for edge in self.edges)}, expected 0 <= x0 < x1 <= "
                f"{width} and 0 <= y0 < y1 <= {height}; mend it"
            )
        return x0, y0, x1, y1


@dataclass(frozen=True)
class Clicks:
    """The clicks on a picture."""

    points: tuple[Click, ...] = ()  # in their order, in pixels of the upright picture
    size: Said | None = None  # of the picture, where the file says it

    def refuse_outside(self, width: int, height: int, where: str) -> None:
        """Raise PisamError for a click outside of the picture, or one of another size."""
        if self.size is not None:
            self.size.refuse_other(width, height, where)
        for x, y, _ in self.points:
            if not (0 <= x <= width and 0 <= y <= height):
                raise PisamError(f"{where}: click {x:g}, {y:g} lies outside of its {width}x{height} pixels")


def parse_box(text: str) -> Box:
    """`box=x0,y0,x1,y1`; raises PisamError: not four numbers."""
    try:
        x0, y0, x1, y1 = (float(part) for part in text.strip("[]()").split(","))
    except ValueError as error:
        raise PisamError(f"box: got {text}, expected x0,y0,x1,y1 in pixels") from error
    return Box((x0, y0, x1, y1))


def read_boxes(path: Path, pictures: Mapping[str, Path]) -> tuple[dict[str, list[Box]], dict[int, str]]:
    """The boxes of the pictures that a file has any for, and the names of the categories.

    Args:
        path: .csv with the columns image, x0, y0, x1, y1, edges in pixels; or COCO's JSON, whose bbox counts.
        pictures: as `list_pictures` gives them.

    Raises:
        PisamError: unreadable, none for any of the pictures, or of two images for one of them.
    """
    with _reading(path, "boxes", BOXES):
        text = read_text(path)
        named, categories = _from_csv(text) if _is_csv(path) else _from_coco(parse_json(text), path)
    return _by_picture(named, pictures, f"boxes {path}"), categories


def read_click_file(path: Path, pictures: Mapping[str, Path]) -> dict[str, Clicks]:
    """The clicks on the pictures that a file has any for.

    Args:
        path: .csv with the columns image, x, y, label; or JSON with "images": a list of {"image", "clicks":
            [{"x", "y", "label"}]}, as `pisam interact` writes it. Pixels of the picture, label 1 = object.
        pictures: as `list_pictures` gives them.

    Raises:
        PisamError: unreadable, none on any of the pictures, or of two images on one of them.
    """
    with _reading(path, "clicks", CLICKS):
        text = read_text(path)
        rows: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = (
            [(row, row) for row in _csv_rows(text, CLICK_COLUMNS)]
            if _is_csv(path)
            else [(entry, click) for entry in parse_json(text)["images"] for click in entry["clicks"]]
        )
        given = [
            (_name(image["image"]), _source(image), (_size(image, path), _click(row))) for image, row in rows
        ]
    found = _by_picture(given, pictures, f"clicks {path}")
    return {stem: Clicks(tuple(c for _, c in several), several[0][0]) for stem, several in found.items()}


@contextmanager
def _reading(path: Path, what: str, expected: str) -> Iterator[None]:
    """Raise PisamError in place of everything that reading a file of anybody's may raise."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise PisamError(
            f"{what} {path}: {type(error).__name__}: {reason:.200}; expected {expected}"
        ) from error


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _csv_rows(text: str, columns: Iterable[str]) -> Iterator[dict[str, str]]:
    """The rows under their heads; a row that has none, a head twice or none of the `columns` is refused."""
    head = text.partition("\n")[0]
    mark = max(",;\t", key=head.count)  # Excel writes ; in many countries
    blanks = f"{mark} " in head
    reader = csv.DictReader(
        io.StringIO(text, newline=""), strict=True, delimiter=mark, skipinitialspace=blanks
    )
    reader.fieldnames = heads = [each.strip() for each in reader.fieldnames or []]
    if len({*heads}) < len(heads):
        raise ValueError("a column is there twice")
    if missing := [column for column in columns if column not in heads]:
        raise ValueError(f"no column {missing[0]} among {', '.join(heads)}")
    for row in reader:
        if None in row:
            raise ValueError(f"line {reader.line_num} has more cells than there are columns")
        yield row


Row = tuple[str, str, Any]
"""The name of an image, what else distinguishes it from others of that name, and something on it."""


def _from_csv(text: str) -> tuple[list[Row], dict[int, str]]:
    boxes = []
    for row in _csv_rows(text, BOX_COLUMNS):
        x0, y0, x1, y1 = (_number(row[key]) for key in BOX_COLUMNS[1:])
        boxes.append((_name(row["image"]), "", Box((x0, y0, x1, y1))))
    return boxes, {1: "object"}


def _from_coco(contents: dict[str, Any], path: Path) -> tuple[list[Row], dict[int, str]]:
    images = dict(images_of(contents["images"], path, sized=False))
    rows = contents["annotations"]
    if not any("id" in row for row in rows):
        rows = [{**row, "id": number} for number, row in enumerate(rows)]
    found, left_out = annotations_of(rows, images, path, "bbox")
    for what, count in left_out.items():
        if count:
            print(f"left out: {count} {what} of boxes {path}")
    categories = [(whole(each["id"]), _name(each["name"])) for each in contents.get("categories") or []]
    ids = [id_ for id_, _ in categories]
    if None in ids or len({*ids}) < len(ids):
        raise ValueError("two categories have one id, or one has none")
    boxes = []
    for image, own in found.items():
        name, height, width = images[image]
        for id_, row in own.items():
            try:
                box = Box(_edges(row["bbox"]), _category(row), Said(width, height, path) if width else None)
            except (ValueError, ArithmeticError) as error:
                raise ValueError(f"annotation {id_}: {error}") from error
            boxes.append((name, f"image {image}", box))
    unnamed = {box.category: "object" if box.category == 1 else str(box.category) for _, _, box in boxes}
    return boxes, unnamed | {id_: name for id_, name in categories if id_ is not None}


def _edges(bbox: Any) -> tuple[float, float, float, float]:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise ValueError(f"bbox is {shown(bbox)}, expected a list of x, y, width and height")
    x, y, width, height = map(_number, bbox)
    return x, y, x + width, y + height


def _category(row: Mapping[str, Any]) -> int:
    if (category := whole(row.get("category_id", 1))) is None:
        raise ValueError(f"category_id is {shown(row['category_id'])}")
    return category


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{shown(value)} is no name")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float, str) or not math.isfinite(number := float(value)):
        raise ValueError(f"{shown(value)} is no number of pixels")
    return number


def _click(row: Mapping[str, Any]) -> Click:
    if (label := LABELS.get(str(row["label"]).strip())) is None:
        raise ValueError(f"label is {shown(row['label'])}")
    return _number(row["x"]), _number(row["y"]), label


def _size(image: Mapping[str, Any], path: Path) -> Said | None:
    if image.get("width") is None and image.get("height") is None:
        return None
    width, height = whole(image.get("width")), whole(image.get("height"))
    if width is None or height is None:
        raise ValueError(f"width is {shown(image.get('width'))}, height {shown(image.get('height'))}")
    return Said(width, height, path)


def _source(image: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {shown(image[key])}" for key in ("set", "width", "height") if key in image)


def _by_picture(rows: Iterable[Row], pictures: Mapping[str, Path], what: str) -> dict[str, list[Any]]:
    """The values by the picture that their name means: its path with or without folder and suffix.

    Where some name has a folder (`./` is that of the pictures), a name of several pictures is a whole path.
    Either Unicode form of an accented letter is the other.

    Raises:
        PisamError: none on any picture, a name of several, or several images that mean one.
    """
    names: dict[str, set[str]] = {}
    for stem, path in pictures.items():
        for name in {stem, stem + path.suffix, path.name, path.stem}:
            names.setdefault(one_form(name), set()).add(stem)
    found: dict[str, list[Any]] = {}
    origins: dict[str, str] = {}
    strangers: list[str] = []
    rows = [(name.replace("\\", "/"), source, value) for name, source, value in rows]
    folders = any("/" in name for name, _, _ in rows)
    for name, source, value in rows:
        plain = one_form(name.removeprefix("./"))
        meant = names.get(plain, set())
        if len(meant) > 1 and folders:
            paths = {stem: (one_form(stem), one_form(stem + pictures[stem].suffix)) for stem in meant}
            meant = {stem for stem in meant if plain in paths[stem]} or meant
        if len(meant) > 1:
            raise PisamError(
                f"{what}: {name} may mean {' or '.join(sorted(meant))}; give its folder too, ./{name} if none"
            )
        for stem in meant:
            if (other := origins.setdefault(stem, source)) != source:
                raise PisamError(
                    f"{what}: two images there, {other or '?'} and {source or '?'}, mean the picture {stem}; "
                    "expected one; take the other out of the file"
                )
            found.setdefault(stem, []).append(value)
        if not meant:
            strangers.append(name)
    if not strangers and not found:
        raise PisamError(f"{what}: holds none that can be used; expected some")
    if not found:
        some = ", ".join(sorted(pictures)[:3])
        raise PisamError(
            f"{what}: names none of the pictures, which are {some}, ...; the first that it names is "
            f"{shown(strangers[0])}"
        )
    say_left_out(f"rows of {what}, which name no picture here", strangers)
    return found
