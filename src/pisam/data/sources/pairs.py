"""The pairs in the folders of a source: one image with its mask each."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from pisam.core.errors import PisamError
from pisam.core.files import read_text
from pisam.data.sources.coco import Shapes, open_coco
from pisam.data.sources.rows import Source

log = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Pair:
    """An image and its mask; `id` is their common stem, unique within the source."""

    id: str  # see above; of one instance of several, ID@INSTANCE
    image: Path
    mask: Path  # its file, or the annotation file
    ids: bool = False  # the mask's values are ids of objects
    # the image's annotations, if they come from an annotation file
    shapes: Shapes | None = field(default=None, compare=False, repr=False)
    instance: int | None = None  # the id, annotation or component that is meant; None = all together
    ignore: int | None = None  # as in `Source`


@dataclass(frozen=True)
class Matched:
    """The contents of the folders of a source."""

    pairs: list[Pair]  # sorted by id, at most `source.limit`
    gaps: list[tuple[Path | None, str]]  # what must be mended, as (image or None, error message)
    # masks without an image. Some distributions keep the masks of several parts in one folder.
    unused: list[Path]
    left_out: list[str]  # what else lies there and was not looked at, a line each


def list_pairs(source: Source) -> list[Pair]:
    """The pairs as `match_without_gaps` finds them; the log says what is left out."""
    matched = match_without_gaps(source)
    for text in matched.left_out:
        log.info("%s: %s", source.name, text)
    return matched.pairs


def match_without_gaps(source: Source) -> Matched:
    """As `match_files`; the first gap is a PisamError."""
    matched = match_files(source)
    if matched.gaps:
        raise PisamError(matched.gaps[0][1])
    return matched


def match_files(source: Source) -> Matched:
    """Find each image's mask: the file of the same stem.

    A stem is a file name without its last suffix: real names contain dots and '#'. The two ways of writing
    an accented letter (NFC and NFD of Unicode) are one name.

    Raises:
        PisamError: a folder or the list of names cannot be read, or there is no image.
    """
    if source.annotated:
        return _match_annotations(source)
    gaps: list[tuple[Path | None, str]] = []
    images, masks = list_pictures(source.images), list_pictures(source.masks)
    stems = images.files
    if source.names is not None:
        listed = _listed_stems(source.names)
        gaps += _unlisted(source, listed - stems.keys(), f"{source.images} holds no such image")
        stems = {stem: files for stem, files in stems.items() if stem in listed}
    if not images.files:
        raise PisamError(
            f"{source.images}: no image in this folder of {source.name}{images.instead}; expected "
            f"{', '.join(SUFFIXES)}; put them there or change the row"
        )
    pairs, similar = [], {_loosely(stem): files[0] for stem, files in masks.files.items()}
    for stem, (image, *doubles) in sorted(stems.items()):
        found = masks.files.get(stem, [])
        if doubles:
            gaps.append((image, _same_stem(doubles[0], image)))
        if not found:
            near = similar.get(_loosely(stem)) or similar.get(_loosely(image.name))
            there = "" if near is None else f"; there is {near.name}, which has another stem"
            expected = source.masks / (stem + ".png")
            text = f"{image}: image without mask; expected {expected} (or another suffix){there}"
            gaps.append((image, f"{text}; add it or take the image out"))
        elif len(found) > 1:
            gaps.append((image, _same_stem(found[1], found[0])))
        else:
            pairs.append(Pair(stem, image, found[0], ids=source.ids, ignore=source.ignore))
    unused = [files[0] for stem, files in sorted(masks.files.items()) if stem not in stems]
    return Matched(pairs[: source.limit], gaps, unused, [*images.lines(), *masks.lines()])


def _match_annotations(source: Source) -> Matched:
    listed = None if source.names is None else _listed_stems(source.names)
    contents = open_coco(source.masks)
    folders = _folders_of(source.images, contents.shapes)
    gaps: list[tuple[Path | None, str]] = []
    pairs: dict[str, Pair] = {}
    segmented = {one_form(Path(name).stem) for name in contents.shapes}
    if listed is not None:
        gaps += _unlisted(source, listed - segmented, f"{source.masks} has no segmentation of such an image")
    for name, shapes in contents.shapes.items():
        stem = one_form(Path(name).stem)
        if listed is not None and stem not in listed:
            continue
        same = folders[PurePosixPath(name).parent].files.get(stem, [])
        image = next(
            (file for file in same if one_form(file.name) == one_form(Path(name).name)), source.images / name
        )
        if not image.is_file():
            gaps.append((None, f"{source.masks}: names {name}, but there is no {image}; mend one of them"))
        elif stem in pairs:
            gaps.append((image, _same_stem(image, pairs[stem].image)))
        else:
            pairs[stem] = Pair(stem, image, source.masks, shapes=shapes)
    if not pairs and not gaps:
        raise PisamError(f"{source.masks}: no image with a segmentation for {source.name}; expected some")
    left_out = [f"{source.masks}: {count} {what} left out" for what, count in contents.left_out.items()]
    for folder in folders.values():
        if listed is None and (unnamed := len(folder.files.keys() - segmented)):
            left_out.append(
                f"{folder.folder}: {unnamed} pictures without a segmentation in the file left out"
            )
        left_out += folder.lines()
    return Matched([pairs[stem] for stem in sorted(pairs)][: source.limit], gaps, [], left_out)


def _folders_of(images: Path, names: Iterable[str]) -> dict[PurePosixPath, Pictures]:
    """The folder of images and those below it that the names of an annotation file lead through."""
    parents = {PurePosixPath(), *(parent for name in names for parent in PurePosixPath(name).parents)}
    below = defaultdict[PurePosixPath, set[str]](set)
    for each in parents:
        below[each.parent].add(each.name)
    folders = {}
    for parent in sorted(parents):
        folder = images / parent
        known = list_pictures(folder, but=below[parent]) if folder.is_dir() else Pictures(folder, {}, {})
        folders[parent] = known
    return folders


def _unlisted(source: Source, stems: Iterable[str], what: str) -> list[tuple[Path | None, str]]:
    """A gap for each name of a list that means nothing."""
    return [(None, f"{source.names}: lists {stem}, but {what}; mend one of them") for stem in sorted(stems)]


@dataclass(frozen=True)
class Pictures:
    """The contents of a folder."""

    folder: Path
    files: dict[str, list[Path]]  # the picture files of each stem; more than one is a gap
    others: Mapping[str, int]  # how many files of each other suffix, of hidden ones, and subfolders

    @property
    def instead(self) -> str:
        """Other files and folders in it, for an error message."""
        return f" (there are {_counted(self.others)})" if self.others else ""

    def lines(self) -> list[str]:
        """One line on what was not looked at, or none."""
        return [f"{self.folder}: {_counted(self.others)} left out"] if self.others else []


def list_pictures(folder: Path, but: Container[str] = ()) -> Pictures:
    """The picture files of a folder by their stems, each stem in NFC.

    Args:
        folder: itself.
        but: names in it that are not counted among others.

    Raises:
        PisamError: it cannot be listed.
    """
    files: dict[str, list[Path]] = {}
    others: Counter[str] = Counter()
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise PisamError(f"{folder}: cannot be listed: {error.strerror}") from error
    for entry in entries:
        stem, suffix = os.path.splitext(entry.name)
        # macOS archives leave "._name" beside each file.
        if entry.name in but:
            continue
        if entry.name.startswith("."):
            others["hidden files"] += 1
        elif suffix.lower() in SUFFIXES:
            files.setdefault(one_form(stem), []).append(folder / entry.name)
        else:
            folders = entry.is_dir()
            others[
                "subfolders" if folders else f"files of {suffix}" if suffix else "files without suffix"
            ] += 1
    return Pictures(folder, files, others)


def _counted(others: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(others.items()))


def one_form(name: str) -> str:
    """A name in one Unicode form: file systems and archives keep accents as one character or as two."""
    return unicodedata.normalize("NFC", name)


def _loosely(name: str) -> str:
    """Equal for names that a reader takes for the same: case, blanks, a usual ending."""
    return name.strip().casefold().removesuffix("_mask").removesuffix("-mask").removesuffix("_gt")


def _same_stem(file: Path, other: Path) -> str:
    return f"{file}: same stem as {other.name}; expected one file; keep one of the two"


def _listed_stems(names: Path) -> set[str]:
    try:
        lines = read_text(names).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PisamError(f"{names}: cannot be read as text: {error}; expected a file name a line") from error
    stems = set()
    for line in filter(None, map(str.strip, lines)):
        name = one_form(PureWindowsPath(line).name)  # after the last / or \
        stem, suffix = os.path.splitext(name)
        stems.add(stem if suffix.lower() in SUFFIXES else name)
    if not stems:
        raise PisamError(f"{names}: lists nothing; expected a file name a line")
    return stems
