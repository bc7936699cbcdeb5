"""Boxes and clicks from files: COCO, CSV, folders of rough masks, and what `pisam interact` wrote."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pisam.core.errors import PisamError
from pisam.core.locality import Click

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
    try:
        text = path.read_text(encoding="utf-8-sig")
        named, categories = _from_csv(text) if path.suffix.lower() == ".csv" else _from_coco(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PisamError(
            f"boxes {path}: {type(error).__name__}: {error}; expected a .csv with the columns image,x0,y0,x1,"
            "y1, or COCO's JSON with images (id, file_name) and annotations (image_id, bbox)"
        ) from error
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
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows: list[tuple[str, Mapping[str, Any]]] = (
            [(row["image"], row) for row in csv.DictReader(text.splitlines())]
            if path.suffix.lower() == ".csv"
            else [
                (entry["image"], click) for entry in json.loads(text)["images"] for click in entry["clicks"]
            ]
        )
        clicks = [(name, (float(row["x"]), float(row["y"]), int(row["label"]))) for name, row in rows]
        for name, (x, y, label) in clicks:
            if label not in (0, 1) or not math.isfinite(x + y):
                raise ValueError(f"{name}: click {x}, {y} with label {label}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PisamError(
            f"clicks {path}: {type(error).__name__}: {error}; expected a .csv with the columns image,x,y,"
            'label, or JSON with "images", each with "image" and "clicks"'
        ) from error
    return _by_picture(clicks, pictures, f"clicks {path}")


def _from_csv(text: str) -> tuple[list[tuple[str, Box]], dict[int, str]]:
    boxes = []
    for row in csv.DictReader(text.splitlines()):
        x0, y0, x1, y1 = (float(row[key]) for key in ("x0", "y0", "x1", "y1"))
        boxes.append((row["image"], Box((x0, y0, x1, y1))))
    return boxes, {1: "object"}


def _from_coco(contents: dict[str, Any]) -> tuple[list[tuple[str, Box]], dict[int, str]]:
    names = {image["id"]: str(image["file_name"]) for image in contents["images"]}
    boxes = []
    for annotation in contents["annotations"]:
        x, y, width, height = (float(edge) for edge in annotation["bbox"])
        box = Box((x, y, x + width, y + height), int(annotation.get("category_id", 1)))
        boxes.append((names[annotation["image_id"]], box))
    categories = {int(each["id"]): str(each["name"]) for each in contents.get("categories", [])}
    return boxes, categories or {1: "object"}


def _by_picture(
    rows: Iterable[tuple[str, Any]], pictures: Mapping[str, Path], what: str
) -> dict[str, list[Any]]:
    """The values by the picture that their name means: its path with or without folder and suffix."""
    names: dict[str, set[str]] = {}
    for stem, path in pictures.items():
        for name in {stem, stem + path.suffix, path.name, path.stem}:
            names.setdefault(name, set()).add(stem)
    found: dict[str, list[Any]] = {}
    for name, value in rows:
        meant = names.get(name.replace("\\", "/").removeprefix("./"), set())
        if len(meant) > 1:
            raise PisamError(f"{what}: {name} may mean {' or '.join(sorted(meant))}; give its folder too")
        for stem in meant:
            found.setdefault(stem, []).append(value)
    if not found:
        raise PisamError(
            f"{what}: names none of the pictures, which are {', '.join(sorted(pictures)[:3])}, ..."
        )
    return found
