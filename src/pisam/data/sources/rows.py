"""Data sets and their places: a source is a row of names and folders."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pisam.core.checks import refuse_reserved
from pisam.core.errors import PisamError, nearest
from pisam.core.files import shown
from pisam.data.sources.known_sets import GROUPS, KNOWN_SETS, Layout, Role

log = logging.getLogger(__name__)

Entry = str | Mapping[str, Any]

MOST_WEIGHT = 10**6  # sums of larger ones are infinite, or lose the others
ROW_KEYS = ("name", "images", "masks", "annotations", "ids", "ignore", "names", "limit", "weight", "force")


@dataclass(frozen=True)
class Source:
    """One data set."""

    name: str  # how the set is called in metrics and sample seeds
    images: Path  # folder of images
    masks: Path  # folder of masks, each with its image's stem; or a COCO annotation file
    role: Role = "own"  # `train` and `test` for the parts of published sets, `own` for a row of the user's
    limit: int | None = None  # keep only the first so many pairs
    weight: float = 1.0  # how often an image is drawn in training, relative to one of weight 1
    names: Path | None = None  # a text file with one file name or stem a line: only these belong to the set
    force: bool = False  # train on it although it is a published test part
    ids: bool = False  # values of the masks are ids of objects, 0 = background
    annotated: bool = False  # `masks` is an annotation file
    # the value of mask pixels that are neither object nor background; -1 = there is none, None = not stated:
    # what could be one is then refused
    ignore: int | None = None

    @property
    def key(self) -> bytes:
        """Equal for sources whose files are the same and mean the same, whatever part of them is taken."""
        folders = "\0".join(os.path.abspath(folder) for folder in (self.images, self.masks))
        ids, ignore = "\0ids" * self.ids, "" if self.ignore is None else f"\0ignore {self.ignore}"
        return os.fsencode(f"{folders}{ids}{ignore}")


def resolve_source(entry: Entry, root: str | Path | None) -> Source:
    """The source that a configuration entry means.

    Args:
        entry: a name in `KNOWN_SETS`, or a row with `name` and, unless it is a known one, `images` and
            `masks` (a folder) or `annotations` (a COCO file); optionally `ids`, `ignore`, `names`, `limit`,
            `weight` and `force`.
        root: folder that layouts and relative folders start from.

    Raises:
        PisamError: unknown set or row key, root or folder missing, a value out of range.
    """
    row: dict[str, Any] = {"name": entry} if isinstance(entry, str) else dict(entry)
    for key in row:
        if key not in ROW_KEYS:
            keys = ", ".join(ROW_KEYS)
            raise PisamError(f"data row {row}: unknown key {key}, expected {keys}{nearest(key, ROW_KEYS)}")
    name = row.get("name")
    if not isinstance(name, str) or not name:
        raise PisamError(f"data row {row}: name is {name!r}, expected a text")
    refuse_reserved(name, f"data row {row}")
    if ("images" in row) != ("masks" in row or "annotations" in row) or {
        "masks",
        "annotations",
    } <= row.keys():
        raise PisamError(
            f"data row {name}: give both images and masks (or annotations), or neither for a known set"
        )
    if "names" in row and "images" not in row:
        raise PisamError(f"data row {name}: names needs images and masks beside it")
    limit, weight = row.get("limit"), row.get("weight", 1.0)
    flags = {key: row.get(key, False) for key in ("force", "ids")}
    source = _own_folders(name, row, root) if "images" in row else _known_folders(name, root)
    if limit is not None and (type(limit) is not int or limit < 1):
        raise PisamError(f"data row {name}: limit is {limit!r}, expected a whole number of at least 1")
    if type(weight) not in (int, float) or not 1 / MOST_WEIGHT <= weight <= MOST_WEIGHT:
        raise PisamError(
            f"data row {name}: weight is {shown(weight)}, expected a number from {1 / MOST_WEIGHT} to "
            f"{MOST_WEIGHT}"
        )
    for key, flag in flags.items():
        if type(flag) is not bool:
            raise PisamError(f"data row {name}: {key} is {flag!r}, expected true or false")
    if flags["ids"] and "masks" not in row:
        raise PisamError(f"data row {name}: ids says what the values of masks mean; give images and masks")
    ignore = _ignored_value(name, row)
    ignore = source.ignore if ignore is None else ignore
    return replace(source, limit=limit, weight=float(weight), ignore=ignore, **flags)


def _ignored_value(name: str, row: Mapping[str, Any]) -> int | None:
    value = row.get("ignore")
    if value is not None and "annotations" in row:
        raise PisamError(
            f"data row {name}: ignore names a value of masks, but annotations have none; drop it"
        )
    if value is None or value is False:
        return None if value is None else -1
    if type(value) is not int or not 1 <= value <= 65535:
        raise PisamError(
            f"data row {name}: ignore is {value!r}, expected the value of ignored mask pixels, 1 to 65535, "
            "or false for none"
        )
    return value


def resolve_sources(entries: Iterable[Entry], root: str | Path | None, *, training: bool) -> list[Source]:
    """The sources of a whole list of entries, in its order.

    Raises:
        PisamError: as `resolve_source`; two entries of one name; a known test set where `training`, unless
            its row says `force: true`.
    """
    sources = [resolve_source(part, root) for entry in entries for part in _parts(entry, root)]
    refuse_twice(sources)
    for source in sources:
        if training and source.role == "test":
            if not source.force:
                raise PisamError(
                    f"data row {source.name}: {source.images} holds a published test or validation part, "
                    "it must not be trained on; move it to data.val or data.test, or insist with "
                    f"{{name: {source.name}, force: true}}"
                )
            log.warning("training on %s, a published test or validation part, as forced", source.name)
    return sources


def names_of(entries: Iterable[Entry]) -> list[str]:
    """The names of the sources of entries, whether their files are there or not; a group is its sets."""
    names: list[str] = []
    for entry in entries:
        row = {"name": entry} if isinstance(entry, str) else entry
        name, own = str(row.get("name")), "images" in row
        names += [name] if own or name not in GROUPS else GROUPS[name]
    return names


def refuse_twice(sources: Iterable[Source]) -> None:
    """Raises PisamError where two sources of one list have one name."""
    seen: set[str] = set()
    for source in sources:
        if source.name in seen:
            raise PisamError(f"data row {source.name}: two entries have this name; merge or rename one")
        seen.add(source.name)


def _parts(entry: Entry, root: str | Path | None) -> list[Entry]:
    """The entry itself, or rows for the sets of the group that it names, with its other values."""
    row = {"name": entry} if isinstance(entry, str) else dict(entry)
    if "images" in row or not (isinstance(group := row.get("name"), str) and group in GROUPS):
        return [entry]
    start = _existing_root(root, group)
    parts: list[Entry] = []
    for name, pairs in GROUPS[group].items():
        layouts = [at for at in KNOWN_SETS[name].layouts if at.pairs == pairs]
        here = next((at for at in layouts if find_layout(at, start)), None)
        if here is None:
            looked = " or ".join(f"{at.images} with {at.masks}" for at in layouts)
            raise PisamError(f"data set {group}: in {start} expected {looked} for {name}; put it there")
        folders = {"images": here.images, "masks": here.masks} | ({"names": here.names} if here.names else {})
        parts.append({**row, "name": name, **folders})
    return parts


def longest_parts(sources: Iterable[Source]) -> list[Source]:
    """Each source once; of those that differ in `limit` alone, the longest part."""
    longest: dict[Source, Source] = {}
    for source in sources:
        whole = replace(source, limit=None, weight=1.0, force=False)
        other = longest.setdefault(whole, source)
        if other.limit and (source.limit is None or source.limit > other.limit):
            longest[whole] = source
    return list(longest.values())


def _known_folders(name: str, root: str | Path | None) -> Source:
    if name not in KNOWN_SETS:
        raise PisamError(
            f"unknown data set {name}{nearest(name, [*KNOWN_SETS, *GROUPS])}; known are "
            f"{', '.join(KNOWN_SETS)}, in a list also {', '.join(GROUPS)}, or a row {{name, images, masks}}"
        )
    start = _existing_root(root, name)
    found = find_known(name, start)
    if found is None:
        looked = " or ".join(f"{at.images} with {at.masks}" for at in KNOWN_SETS[name].layouts)
        raise PisamError(f"data set {name}: in {start} expected {looked}, found none complete; put it there")
    return found


def find_known(name: str, root: Path) -> Source | None:
    """A published set in the first of its layouts that is below `root`, or None."""
    known = KNOWN_SETS[name]
    for layout in known.layouts:
        if find_layout(layout, root):
            names = None if layout.names is None else root / layout.names
            return Source(
                name, root / layout.images, root / layout.masks, known.role, names=names, ignore=known.ignore
            )
    return None


def find_layout(layout: Layout, root: Path) -> bool:
    """True where all folders and the list of a layout are below `root`."""
    folders = (root / layout.images, root / layout.masks)
    listed = layout.names is None or (root / layout.names).is_file()
    return all(folder.is_dir() for folder in folders) and listed


def published_pairs(source: Source) -> int | None:
    """The number of pairs that a published set is distributed with in this folder; None for others."""
    if source.name not in KNOWN_SETS:
        return None
    layouts = KNOWN_SETS[source.name].layouts
    return next((at.pairs for at in layouts if _ends_with(source.images, at.images)), None)


def _own_folders(name: str, row: Mapping[str, Any], root: str | Path | None) -> Source:
    paths: dict[str, Path] = {}
    for key in ("images", "masks", "annotations", "names"):
        if key not in row:
            continue
        value = row[key]
        if not isinstance(value, str | os.PathLike):
            kind = {"names": "a text file", "annotations": "a COCO file"}.get(key, "a folder")
            raise PisamError(f"data row {name}: {key} is {value!r}, expected {kind}")
        path = Path(value)
        if not path.is_absolute():
            path = _existing_root(root, name) / path
        is_file = key in ("names", "annotations")
        if is_file and not path.is_file():
            raise PisamError(f"data row {name}: {key}: no file {path}")
        if not is_file and not path.is_dir():
            raise PisamError(f"data row {name}: {key}: no folder {path}")
        paths[key] = path
    names = paths.get("names")
    annotated = "annotations" in paths
    masks = paths["annotations" if annotated else "masks"]
    role = _role(name, paths["images"], names)
    return Source(name, paths["images"], masks, role, names=names, annotated=annotated)


def _role(name: str, images: Path, names: Path | None) -> Role:
    """A row that gives a published set's name or folder keeps its role: renaming must not hide a test set."""
    if name in KNOWN_SETS:
        return KNOWN_SETS[name].role
    roles = {
        known.role
        for known in KNOWN_SETS.values()
        for layout in known.layouts
        if _ends_with(images, layout.images)
        # Without the list of one part, a folder of several counts as all of them.
        and not (layout.names and names and _is_other_list(names, layout.names))
    }
    return "test" if "test" in roles else "train" if "train" in roles else "own"


def _is_other_list(names: Path, expected: str) -> bool:
    """`names` is the published list of another part."""
    lists = {layout.names for known in KNOWN_SETS.values() for layout in known.layouts if layout.names}
    return not _ends_with(names, expected) and any(_ends_with(names, other) for other in lists)


def _ends_with(path: Path, end: str) -> bool:
    parts = Path(end).parts
    return path.resolve().parts[-len(parts) :] == parts


def _existing_root(root: str | Path | None, name: str) -> Path:
    if root is None:
        raise PisamError(f"data set {name}: no root folder; set data.root or PISAM_DATA_ROOT")
    if not (folder := Path(root)).is_dir():
        raise PisamError(f"data set {name}: no root folder {folder}; set data.root or PISAM_DATA_ROOT")
    return folder
