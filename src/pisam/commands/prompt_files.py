"""Boxes and clicks from files: COCO, CSV, folders of rough masks, and what `pisam interact` wrote."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pisam.commands.folders import say_left_out
from pisam.core.errors import PisamError
from pisam.core.files import parse_json, shown
from pisam.core.locality import Click
from pisam.data.sources.segmentation import id_of, whole

BOXES = (
    "a .csv with the columns image,x0,y0,x1,y1, or COCO's JSON with images (id, file_name) and annotations "
    "(image_id, bbox)"
)
CLICKS = 'a .csv with the columns image,x,y,label, or JSON with "images", each with "image" and "clicks"'
OVERHANG = 1.0  # pixels by which a box may stick out of its picture, as rounding makes it


@dataclass(frozen=True)
class Box:
    """A prompt.

    Attributes:
        edges: x0, y0, x1, y1, in pixels of the upright picture.
        category: of a COCO file, else 1.
    """

    edges: tuple[float, float, float, float]
    category: int = 1

    def inside(self, width: int, height: int, where: str) -> tuple[float, float, float, float]:
        """The edges, cut off at the border of the picture where they stick out by a pixel at most.

        Raises:
            PisamError: without an area, or outside of the picture; begins with `where`.
        """
        x0, y0, x1, y1 = self.edges
        fits = -OVERHANG <= x0 < x1 <= width + OVERHANG and -OVERHANG <= y0 < y1 <= height + OVERHANG
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if not fits or x0 >= x1 or y0 >= y1:
            raise PisamError(
                f"{where}: box {', '.join(f'{edge:g}' for edge in self.edges)}, expected 0 <= x0 < x1 <= "
                f"{width} and 0 <= y0 < y1 <= {height}; mend it"
            )
        return x0, y0, x1, y1


def parse_box(text: str) -> Box:
    """`box=x0,y0,x1,y1`.

    Raises:
        PisamError: not four numbers.
    """
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
        PisamError: unreadable, or none for any of the pictures.
    """
    with _reading(path, "boxes", BOXES):
        text = path.read_text(encoding="utf-8-sig")
        named, categories = _from_csv(text) if _is_csv(path) else _from_coco(parse_json(text))
    return _by_picture(named, pictures, f"boxes {path}"), categories


def read_click_file(path: Path, pictures: Mapping[str, Path]) -> dict[str, list[Click]]:
    """The clicks on the pictures that a file has any for.

    Args:
        path: .csv with the columns image, x, y, label; or JSON with "images": a list of {"image", "clicks":
            [{"x", "y", "label"}]}, as `pisam interact` writes it. Pixels of the picture, label 1 = object.
        pictures: as `list_pictures` gives them.

    Raises:
        PisamError: unreadable, or none on any of the pictures.
    """
    with _reading(path, "clicks", CLICKS):
        text = path.read_text(encoding="utf-8-sig")
        rows: list[tuple[Any, Mapping[str, Any]]] = (
            [(row["image"], row) for row in _csv_rows(text)]
            if _is_csv(path)
            else [
                (entry["image"], click) for entry in parse_json(text)["images"] for click in entry["clicks"]
            ]
        )
        clicks = [(_name(name), _click(row)) for name, row in rows]
    return _by_picture(clicks, pictures, f"clicks {path}")


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


def _csv_rows(text: str) -> Iterator[dict[str, str]]:
    """The rows under their heads; what has no head, or a head twice, is refused."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    heads = reader.fieldnames or []
    if len({*heads}) < len(heads):
        raise ValueError("a column is there twice")
    for row in reader:
        if None in row:
            raise ValueError(f"line {reader.line_num} has more cells than there are columns")
        yield row


def _from_csv(text: str) -> tuple[list[tuple[str, Box]], dict[int, str]]:
    boxes = []
    for row in _csv_rows(text):
        x0, y0, x1, y1 = (_number(row[key]) for key in ("x0", "y0", "x1", "y1"))
        boxes.append((_name(row["image"]), Box((x0, y0, x1, y1))))
    return boxes, {1: "object"}


def _from_coco(contents: dict[str, Any]) -> tuple[list[tuple[str, Box]], dict[int, str]]:
    images = [(id_of(image["id"]), _name(image["file_name"])) for image in contents["images"]]
    categories = [(whole(each["id"]), _name(each["name"])) for each in contents.get("categories") or []]
    for what, ids in (("images", [id_ for id_, _ in images]), ("categories", [id_ for id_, _ in categories])):
        if None in ids or len({*ids}) < len(ids):
            raise ValueError(f"two {what} have one id, or one has none")
    names, boxes = dict(images), []
    for annotation in contents["annotations"]:
        x, y, width, height = map(_number, annotation["bbox"])
        if (category := whole(annotation.get("category_id", 1))) is None:
            raise ValueError(f"category_id is {shown(annotation['category_id'])}")
        box = Box((x, y, x + width, y + height), category)
        boxes.append((names[id_of(annotation["image_id"])], box))
    unnamed = {box.category: "object" if box.category == 1 else str(box.category) for _, box in boxes}
    return boxes, unnamed | {id_: name for id_, name in categories if id_ is not None}


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{shown(value)} is no name")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float, str) or not math.isfinite(number := float(value)):
        raise ValueError(f"{shown(value)} is no number of pixels")
    return number


def _click(row: Mapping[str, Any]) -> Click:
    label = whole(row["label"])
    if label not in (0, 1):
        raise ValueError(f"label is {shown(row['label'])}")
    return _number(row["x"]), _number(row["y"]), label


def _by_picture(
    rows: Iterable[tuple[str, Any]], pictures: Mapping[str, Path], what: str
) -> dict[str, list[Any]]:
    """The values by the picture that their name means: its path with or without folder and suffix."""
    names: dict[str, set[str]] = {}
    for stem, path in pictures.items():
        for name in {stem, stem + path.suffix, path.name, path.stem}:
            names.setdefault(name, set()).add(stem)
    found: dict[str, list[Any]] = {}
    strangers: list[str] = []
    for name, value in rows:
        meant = names.get(name.replace("\\", "/").removeprefix("./"), set())
        if len(meant) > 1:
            raise PisamError(f"{what}: {name} may mean {' or '.join(sorted(meant))}; give its folder too")
        for stem in meant:
            found.setdefault(stem, []).append(value)
        if not meant:
            strangers.append(name)
    if not found:
        raise PisamError(
            f"{what}: names none of the pictures, which are {', '.join(sorted(pictures)[:3])}, ..."
        )
    say_left_out(f"rows of {what}, which name no picture here", strangers)
    return found
