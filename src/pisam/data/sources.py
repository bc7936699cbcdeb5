"""Where data sets lie: a source is a row of names and folders, a pair is one image with its mask."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pisam.errors import PisamError

Role = Literal["train", "test", "own"]
Entry = str | Mapping[str, Any]

ROW_KEYS = ("name", "images", "masks", "limit", "weight")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Source:
    """One data set.

    Attributes:
        name: how the set is called in metrics and sample seeds.
        images: folder of images.
        masks: folder of masks, each with its image's stem.
        role: `train` and `test` for the parts of published sets, `own` for a row of the user's.
        limit: keep only the first so many pairs.
        weight: how often an image is drawn in training, relative to one of weight 1.
    """

    name: str
    images: Path
    masks: Path
    role: Role = "own"
    limit: int | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Pair:
    """An image and its mask; `id` is their common stem, unique within the source."""

    id: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class KnownSet:
    """A published set: its role and the (image folder, mask folder) of each layout it is distributed in."""

    role: Role
    layouts: tuple[tuple[str, str], ...]


def _dis5k(part: str, role: Role) -> KnownSet:
    return KnownSet(role, ((f"DIS5K/DIS-{part}/im", f"DIS5K/DIS-{part}/gt"),))


def _thin_object(part: str, role: Role) -> KnownSet:
    parents = ("ThinObject5K", "thin_object_detection/ThinObject5K")
    return KnownSet(role, tuple((f"{parent}/images_{part}", f"{parent}/masks_{part}") for parent in parents))


# The first layout is the authors' own, a second one that of HQSeg-44K.
KNOWN_SETS: dict[str, KnownSet] = {
    "DIS5K-TR": _dis5k("TR", "train"),
    "DIS5K-VD": _dis5k("VD", "test"),
    "DIS5K-TE1": _dis5k("TE1", "test"),
    "DIS5K-TE2": _dis5k("TE2", "test"),
    "DIS5K-TE3": _dis5k("TE3", "test"),
    "DIS5K-TE4": _dis5k("TE4", "test"),
    "HRSOD-TR": KnownSet("train", (("HRSOD_release/HRSOD_train", "HRSOD_release/HRSOD_train_mask"),)),
    "HRSOD-TE": KnownSet(
        "test",
        (
            ("HRSOD_release/HRSOD_test", "HRSOD_release/HRSOD_test_mask"),
            ("thin_object_detection/HRSOD/images", "thin_object_detection/HRSOD/masks_max255"),
        ),
    ),
    "UHRSD-TR": KnownSet("train", (("UHRSD_TR_2K/image", "UHRSD_TR_2K/mask"),)),
    "UHRSD-TE": KnownSet("test", (("UHRSD_TE_2K/image", "UHRSD_TE_2K/mask"),)),
    "ThinObject5K-TR": _thin_object("train", "train"),
    "ThinObject5K-TE": _thin_object("test", "test"),
    "COIFT": KnownSet(
        "test",
        (
            ("COIFT/images", "COIFT/masks"),
            ("thin_object_detection/COIFT/images", "thin_object_detection/COIFT/masks_max255"),
        ),
    ),
}


def resolve_source(entry: Entry, root: Path | None) -> Source:
    """The source that a configuration entry means.

    Args:
        entry: a name in `KNOWN_SETS`, or a row with `name` and, unless it is a known one, `images` and
            `masks`; optionally `limit` and `weight`.
        root: folder that layouts and relative folders start from.

    Raises:
        PisamError: unknown set or row key, root or folder missing, limit or weight out of range.
    """
    row: dict[str, Any] = {"name": entry} if isinstance(entry, str) else dict(entry)
    for key in row:
        if key not in ROW_KEYS:
            keys = ", ".join(ROW_KEYS)
            raise PisamError(f"data row {row}: unknown key {key}, expected {keys}{_hint(key, ROW_KEYS)}")
    name = row.get("name")
    if not isinstance(name, str) or not name or "/" in name:
        raise PisamError(f"data row {row}: name is {name!r}, expected a text without '/'")
    if ("images" in row) != ("masks" in row):
        raise PisamError(f"data row {name}: give both images and masks, or neither for a known set")
    if "images" in row:
        source = _own_folders(name, row["images"], row["masks"], root)
    else:
        source = _known_folders(name, root)
    limit, weight = row.get("limit"), row.get("weight", 1.0)
    if limit is not None and (type(limit) is not int or limit < 1):
        raise PisamError(f"data row {name}: limit is {limit!r}, expected a whole number of at least 1")
    if type(weight) not in (int, float) or not 0 < float(weight) < float("inf"):
        raise PisamError(f"data row {name}: weight is {weight!r}, expected a positive number")
    return replace(source, limit=limit, weight=float(weight))


def resolve_sources(entries: Iterable[Entry], root: Path | None, *, training: bool) -> list[Source]:
    """The sources of a whole list of entries, in its order.

    Raises:
        PisamError: as `resolve_source`; two entries of one name; a known test set where `training`.
    """
    sources = [resolve_source(entry, root) for entry in entries]
    seen: set[str] = set()
    for source in sources:
        if source.name in seen:
            raise PisamError(f"data row {source.name}: two entries have this name; merge or rename one")
        seen.add(source.name)
        if training and source.role == "test":
            raise PisamError(
                f"data row {source.name}: {source.images} is a published test or validation part, "
                "it must not be trained on; move it to data.val or data.test"
            )
    return sources


def list_pairs(source: Source) -> list[Pair]:
    """The pairs of a source, sorted by id, at most `source.limit`.

    A stem is a file name without its last suffix: real names contain dots and '#'. Masks without an image
    are passed over, for some distributions keep the masks of several parts in one folder.

    Raises:
        PisamError: folder missing or empty, an image without mask, two files of one stem.
    """
    images, masks = _files_by_stem(source.images), _files_by_stem(source.masks)
    if not images:
        raise PisamError(f"{source.images}: no image in this folder of {source.name} ({', '.join(SUFFIXES)})")
    for stem in sorted(images):
        if stem not in masks:
            raise PisamError(
                f"{images[stem]}: image without mask; expected {source.masks / (stem + '.png')} "
                "(or another suffix); add it or take the image out"
            )
    return [Pair(stem, images[stem], masks[stem]) for stem in sorted(images)][: source.limit]


def _known_folders(name: str, root: Path | None) -> Source:
    if name not in KNOWN_SETS:
        raise PisamError(
            f"unknown data set {name}{_hint(name, KNOWN_SETS)}; known are {', '.join(KNOWN_SETS)}, "
            "and any row {name, images, masks}"
        )
    known = KNOWN_SETS[name]
    start = _existing_root(root, name)
    for images, masks in known.layouts:
        if (start / images).is_dir() and (start / masks).is_dir():
            return Source(name, start / images, start / masks, known.role)
    looked = " or ".join(f"{images} with {masks}" for images, masks in known.layouts)
    raise PisamError(f"data set {name}: in {start} expected {looked}, found none complete; put it there")


def _own_folders(name: str, images: Any, masks: Any, root: Path | None) -> Source:
    folders = []
    for key, value in (("images", images), ("masks", masks)):
        if not isinstance(value, str | os.PathLike):
            raise PisamError(f"data row {name}: {key} is {value!r}, expected a folder")
        folder = Path(value)
        if not folder.is_absolute():
            folder = _existing_root(root, name) / folder
        if not folder.is_dir():
            raise PisamError(f"data row {name}: {key}: no folder {folder}")
        folders.append(folder)
    return Source(name, folders[0], folders[1], _role(name, folders[0]))


def _role(name: str, images: Path) -> Role:
    """A row that gives a published set's name or folder keeps its role: renaming must not hide a test set."""
    if name in KNOWN_SETS:
        return KNOWN_SETS[name].role
    parts = images.resolve().parts
    for known in KNOWN_SETS.values():
        for folder, _ in known.layouts:
            layout = Path(folder).parts
            if parts[-len(layout) :] == layout:
                return known.role
    return "own"


def _existing_root(root: Path | None, name: str) -> Path:
    if root is None:
        raise PisamError(f"data set {name}: no root folder; set data.root or PISAM_DATA_ROOT")
    if not root.is_dir():
        raise PisamError(f"data set {name}: no root folder {root}; set data.root or PISAM_DATA_ROOT")
    return root


def _files_by_stem(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise PisamError(f"{folder}: cannot be listed: {error.strerror}") from error
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)
        # macOS archives leave "._name" beside each file.
        if name.startswith(".") or suffix.lower() not in SUFFIXES:
            continue
        if stem in files:
            raise PisamError(f"{folder / name}: same stem as {files[stem].name}; keep one of the two")
        files[stem] = folder / name
    return files


def _hint(wrong: str, valid: Iterable[str]) -> str:
    folded = {name.lower(): name for name in valid}
    match = difflib.get_close_matches(str(wrong).lower(), folded, n=1)
    return f"; did you mean {folded[match[0]]}?" if match else ""
