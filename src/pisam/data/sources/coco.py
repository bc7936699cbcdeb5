"""Annotation files in COCO's format: polygons and run-length codes, in place of a folder of masks.

Ids are compared as what they mean: 1, 1.0 and "1" are one id. Two annotations or images of one id, or two
images of one file, are refused; what is left out (crowds, annotations without a segmentation or without an
image) is counted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from pisam.core.errors import PisamError
from pisam.core.files import is_possible_path, parse_json, read_text
from pisam.data.sources.segmentation import MAX_PIXELS, Id, decode, id_of, run_lengths, whole


@dataclass(frozen=True)
class Shapes:
    """The annotated objects of one image."""

    file: Path  # the annotation file, for messages
    # height, width: of the image, as the file says
    height: int
    width: int
    # segmentation per annotation id: polygons, or a run-length code, compressed or not
    codes: Mapping[int, Any]

    def mask(self, annotation: int | None = None) -> npt.NDArray[np.bool_]:
        """One annotation, or the union of all: bool (H, W).

        Raises:
            PisamError: a segmentation is not as `segmentation.decode` wants it; names file and annotation.
        """
        union = np.zeros((self.height, self.width), bool)
        for id_ in self.codes if annotation is None else [annotation]:
            union |= self._of(decode, id_)
        return union

    def areas(self) -> dict[int, int]:
        """Pixels of each annotation, which may be 0; raises as `mask`."""
        return {id_: int(self._of(run_lengths, id_)[1::2].sum()) for id_ in self.codes}

    def _of(self, read: Callable[[Any, int, int], npt.NDArray[Any]], id_: int) -> npt.NDArray[Any]:
        """The result of `read` on the segmentation of an annotation."""
        code = self.codes[id_]
        size = [whole(side) for side in code["size"]] if _has_size(code) else [self.height, self.width]
        if size != [self.height, self.width]:
            raise PisamError(
                f"{self.file}: annotation {id_} is {size[1]}x{size[0]}, its image "
                f"{self.width}x{self.height}; expected the same size; mend one of them"
            )
        try:
            return read(code, self.height, self.width)
        except ValueError as error:
            raise PisamError(
                f"{self.file}: annotation {id_}: the segmentation cannot be decoded ({error}); expected "
                "polygons or a run-length code; mend it or take it out"
            ) from error


@dataclass(frozen=True)
class CocoFile:
    """The contents of an annotation file."""

    shapes: dict[str, Shapes]  # of each image that has any, by the image's file name
    left_out: dict[str, int] = field(default_factory=dict)  # what was passed over, how often


def open_coco(file: Path) -> CocoFile:
    """The shapes of a file's images, and what was left out; it is read once until it changes.

    Raises:
        PisamError: not a COCO annotation file, or one that says two things of one id or file.
    """
    try:
        status = os.stat(file)
    except OSError as error:
        raise PisamError(f"{file}: cannot be read: {error.strerror}; expected a COCO file") from error
    return _read(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _read(file: Path, modified: int, size: int) -> CocoFile:
    try:
        contents = parse_json(read_text(file), nan=True)
        images = dict(images_of(contents["images"], file))
        rows, left_out = annotations_of(contents["annotations"], images, file)
    except PisamError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PisamError(
            f"{file}: no COCO annotations ({type(error).__name__}: {' '.join(str(error).split())[:200]}); "
            "expected JSON with images (id, file_name, height, width) and annotations (id, image_id, "
            "segmentation)"
        ) from error
    shapes = {
        name: Shapes(file, height, width, {number: row["segmentation"] for number, row in rows[id_].items()})
        for id_, (name, height, width) in images.items()
        if id_ in rows
    }
    left_out["images without a segmentation"] = len(images) - len(shapes)
    return CocoFile(shapes, {what: count for what, count in left_out.items() if count})


def images_of(
    rows: list[Any], file: Path, *, sized: bool = True
) -> Iterator[tuple[Id, tuple[str, int, int]]]:
    """(id, (file name, height, width)) of each image of a file, as its JSON says them.

    Args:
        rows: `images` of the file.
        file: for messages.
        sized: whether each must have its size; else height and width are 0 where it has none.

    Raises:
        PisamError: no id, no name of a file, no possible size, or one id or file twice.
        KeyError, TypeError, AttributeError: no such rows.
    """
    ids: set[Id] = set()
    names: dict[str, Id] = {}
    for row in rows:
        id_, name = id_of(row["id"]), row["file_name"]
        stated = sized or row.get("height") is not None or row.get("width") is not None
        height, width = (whole(row["height"]), whole(row["width"])) if stated else (0, 0)
        where = f"{file}: image {id_}"
        if id_ is None or not isinstance(name, str) or not _is_below(name):
            raise PisamError(
                f"{file}: image of id {row['id']!r} and file_name {name!r}; expected a number or text, and "
                "the name of a file below the folder of images; mend it"
            )
        if height is None or width is None or min(height, width) < stated or height * width > MAX_PIXELS:
            raise PisamError(
                f"{where}: height {row['height']!r} and width {row['width']!r}; expected whole numbers of "
                f"pixels, {MAX_PIXELS // 10**6} megapixels at most; mend them"
            )
        if id_ in ids:
            raise PisamError(f"{where}: two images have this id; expected one; number them anew")
        name = PurePosixPath(name).as_posix()  # "./a.jpg" and "a.jpg" are one file
        if name in names:
            raise PisamError(
                f"{where}: its file_name {name} is that of image {names[name]} too; expected one image a "
                "file; merge the two"
            )
        ids.add(id_)
        names[name] = id_
        yield id_, (name, height, width)


def annotations_of(
    rows: list[Any], images: Mapping[Id, Any], file: Path, what: str = "segmentation"
) -> tuple[dict[Id, dict[int, dict[str, Any]]], dict[str, int]]:
    """The annotations of a file by image and id, and how many were left out for what reason.

    Args:
        rows: `annotations` of the file.
        images: as `images_of` gives them.
        file: for messages.
        what: the key that is wanted; who has no such value is left out.

    Raises:
        PisamError: no id, one id twice for an image, or another iscrowd than 0 and 1.
        KeyError, ValueError, TypeError, AttributeError: no such rows.
    """
    found: dict[Id, dict[int, dict[str, Any]]] = {}
    left_out = {
        "crowd annotations": 0,
        f"annotations without a {what}": 0,
        "annotations of no image in the file": 0,
    }
    for row in rows:
        crowd = row.get("iscrowd") or 0
        crowd = whole(int(crowd) if isinstance(crowd, bool) else crowd)
        if crowd not in (0, 1):
            raise PisamError(
                f"{file}: annotation {row['id']!r}: iscrowd is {row['iscrowd']!r}; expected 0 or 1; mend it"
            )
        if id_of(row["image_id"]) not in images:
            left_out["annotations of no image in the file"] += 1
        elif crowd:
            left_out["crowd annotations"] += 1
        elif not row.get(what):
            left_out[f"annotations without a {what}"] += 1
        else:
            image, id_ = id_of(row["image_id"]), whole(row["id"])
            assert image is not None
            if id_ is None or id_ < 0:
                raise PisamError(
                    f"{file}: annotation {row['id']!r}: expected a whole number as its id; mend it"
                )
            own = found.setdefault(image, {})
            if id_ in own:
                raise PisamError(
                    f"{file}: annotation {id_}: two annotations of image {images[image][0]} have this id; "
                    "expected one; number them anew"
                )
            own[id_] = row
    return found, left_out


def _is_below(name: str) -> bool:
    """A path that leads to a file below a folder, and nowhere else."""
    parts = name.replace("\\", "/").split("/")
    return bool(parts[-1]) and ".." not in parts and not name.startswith("/") and is_possible_path(name)


def _has_size(code: Any) -> bool:
    return isinstance(code, dict) and isinstance(code.get("size"), list) and len(code["size"]) == 2
