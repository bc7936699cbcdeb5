"""What lies in the folders of a source: a pair is one image with its mask."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pisam.core.errors import PisamError
from pisam.data.sources.coco import Shapes, read_coco
from pisam.data.sources.rows import Source

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Pair:
    """An image and its mask; `id` is their common stem, unique within the source.

    Attributes:
        id: see above; of one instance of several, ID@INSTANCE.
        image: its file.
        mask: its file, or the annotation file.
        ids: the mask's values are ids of objects.
        shapes: the image's annotations, if they come from an annotation file.
        instance: the id, annotation or component that is meant; None = all together.
    """

    id: str
    image: Path
    mask: Path
    ids: bool = False
    shapes: Shapes | None = field(default=None, compare=False, repr=False)
    instance: int | None = None


@dataclass(frozen=True)
class Matched:
    """What the folders of a source hold.

    Attributes:
        pairs: sorted by id, at most `source.limit`.
        gaps: what must be mended, as (image or None, error message).
        unused: masks without an image. Some distributions keep the masks of several parts in one folder.
    """

    pairs: list[Pair]
    gaps: list[tuple[Path | None, str]]
    unused: list[Path]


def list_pairs(source: Source) -> list[Pair]:
    """The pairs of a source, sorted by id, at most `source.limit`.

    Raises:
        PisamError: as `match_files`; the first gap.
    """
    matched = match_files(source)
    if matched.gaps:
        raise PisamError(matched.gaps[0][1])
    return matched.pairs


def match_files(source: Source) -> Matched:
    """Find each image's mask: the file of the same stem.

    A stem is a file name without its last suffix: real names contain dots and '#'.

    Raises:
        PisamError: a folder or the list of names cannot be read, or there is no image.
    """
    if source.annotated:
        return _match_annotations(source)
    gaps: list[tuple[Path | None, str]] = []
    images, masks = _files_by_stem(source.images), _files_by_stem(source.masks)
    if source.names is not None:
        listed = _listed_stems(source.names)
        gaps += [
            (None, f"{source.names}: lists {stem}, but {source.images} holds no such image; mend one of them")
            for stem in sorted(listed - images.keys())
        ]
        images = {stem: files for stem, files in images.items() if stem in listed}
    if not images:
        raise PisamError(
            f"{source.images}: no image in this folder of {source.name}; expected {', '.join(SUFFIXES)}; "
            "put them there or change the row"
        )
    pairs = []
    for stem, (image, *doubles) in sorted(images.items()):
        found = masks.get(stem, [])
        if doubles:
            gaps.append((image, _same_stem(doubles[0], image)))
        if not found:
            expected = source.masks / (stem + ".png")
            gaps.append(
                (
                    image,
                    f"{image}: image without mask; expected {expected} (or another suffix); "
                    "add it or take the image out",
                )
            )
        elif len(found) > 1:
            gaps.append((image, _same_stem(found[1], found[0])))
        else:
            pairs.append(Pair(stem, image, found[0], ids=source.ids))
    unused = [files[0] for stem, files in sorted(masks.items()) if stem not in images]
    return Matched(pairs[: source.limit], gaps, unused)


def _match_annotations(source: Source) -> Matched:
    listed = None if source.names is None else _listed_stems(source.names)
    gaps: list[tuple[Path | None, str]] = []
    pairs: dict[str, Pair] = {}
    for name, shapes in read_coco(source.masks).items():
        image, stem = source.images / name, Path(name).stem
        if listed is not None and stem not in listed:
            continue
        if not image.is_file():
            gaps.append((None, f"{source.masks}: names {name}, but there is no {image}; mend one of them"))
        elif stem in pairs:
            gaps.append((image, _same_stem(image, pairs[stem].image)))
        else:
            pairs[stem] = Pair(stem, image, source.masks, shapes=shapes)
    if not pairs and not gaps:
        raise PisamError(f"{source.masks}: no image with a segmentation for {source.name}; expected some")
    return Matched([pairs[stem] for stem in sorted(pairs)][: source.limit], gaps, [])


def _same_stem(file: Path, other: Path) -> str:
    return f"{file}: same stem as {other.name}; expected one file; keep one of the two"


def _files_by_stem(folder: Path) -> dict[str, list[Path]]:
    """The picture files of each stem; more than one is a gap to be told."""
    files: dict[str, list[Path]] = {}
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise PisamError(f"{folder}: cannot be listed: {error.strerror}") from error
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)
        # macOS archives leave "._name" beside each file.
        if not name.startswith(".") and suffix.lower() in SUFFIXES:
            files.setdefault(stem, []).append(folder / name)
    return files


def _listed_stems(names: Path) -> set[str]:
    try:
        lines = names.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PisamError(f"{names}: cannot be read as text: {error}; expected a file name a line") from error
    stems = set()
    for line in filter(None, map(str.strip, lines)):
        stem, suffix = os.path.splitext(Path(line).name)
        stems.add(stem if suffix.lower() in SUFFIXES else Path(line).name)
    return stems
