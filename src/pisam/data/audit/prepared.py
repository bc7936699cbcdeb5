"""A prepared copy of training sources, which decodes many times faster: smaller images, masks of one bit.

Per source a folder with `images/ID.jpg` (longest side at most `MAX_SIDE` pixels, averaged down), with
`masks/ID.png` (object where it covers at least half of a pixel, as in the network frame) and `index.json`. An
image within the limit already is not copied, only its mask. The index names the size and modification time of
the files that a copy was made from, and hash and size of what was written: what changed is made anew, and
what was damaged too. Training refuses a copy that lacks a pair, or one whose files have other sizes.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pisam.core.errors import PisamError
from pisam.core.files import parse_json, read_text, replacing, sweep_temporaries, write_text
from pisam.core.types import BoolArray, UInt8Array
from pisam.data.audit.cache import in_threads, stamp_of
from pisam.data.audit.duplicates import content_hash
from pisam.data.reading.reader import read_image, read_mask
from pisam.data.reading.targets import read_pair
from pisam.data.sources.pairs import Pair, list_pairs
from pisam.data.sources.rows import Source
from pisam.data.transforms import frame_whole

log = logging.getLogger(__name__)

MAX_SIDE = 2048
QUALITY = 92
FORMAT = 2  # of the index and of the rules above
SAVE_EVERY = 100

Index = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Prepared:
    """Numbers of pairs that `prepare_source` made, and that were there, whole and up to date."""

    made: int
    kept: int


def prepare_source(source: Source, folder: Path) -> Prepared:
    """Make what is missing, outdated or damaged in the copy of a source; interrupted, it goes on later.

    Args:
        source: whose pairs to copy.
        folder: of all prepared sources.

    Raises:
        PisamError: a pair cannot be read, what was written does not read back as it should, or the row has a
            value to ignore, which a copy cannot hold.
    """
    _refuse_ignored(source)
    own = _folder_of(source, folder)
    for part in ("images", "masks"):
        (own / part).mkdir(parents=True, exist_ok=True)
        sweep_temporaries(own / part)
    index, pairs = _load_index(own), list_pairs(source)
    made, progress = 0, f"preparing {source.name}"
    entries = in_threads(lambda pair: _entry(pair, own, index.get(pair.id)), pairs, progress)
    try:
        for pair, (entry, new) in zip(pairs, entries, strict=True):
            index[pair.id] = entry
            made += new
            if new and made % SAVE_EVERY == 0:
                _save_index(index, own)
    finally:
        _save_index(index, own)
    return Prepared(made, len(pairs) - made)


def prepared_pairs(source: Source, folder: Path) -> list[Pair]:
    """The pairs of a source as they lie in its copy.

    Raises:
        PisamError: as `prepare_source`; some are missing or incomplete there, or their originals changed.
    """
    _refuse_ignored(source)
    own, pairs = _folder_of(source, folder), list_pairs(source)
    index = _load_index(own)
    unfit = [pair for pair in pairs if not _is_current(pair, own, index.get(pair.id))]
    if unfit:
        raise PisamError(
            f"data.prepared {folder}: {len(unfit)} of {len(pairs)} pairs of {source.name} are missing, "
            f"incomplete or older than their files (first: {unfit[0].image}); run pisam prepare again"
        )
    return [_copy_of(pair, own, index[pair.id]) for pair in pairs]


def _refuse_ignored(source: Source) -> None:
    if source.ignore is not None and source.ignore >= 0:
        raise PisamError(
            f"data.prepared: its masks say object or not, but {source.name} has ignore: {source.ignore}; "
            "train on it from the originals"
        )


def _entry(pair: Pair, own: Path, known: dict[str, Any] | None) -> tuple[dict[str, Any], bool]:
    """The index entry of a pair, and whether its copy had to be made."""
    stamps = stamp_of(pair)
    if known is not None and known["source"] == stamps and known["copy"] == _contents(pair, own, known):
        return known, False
    image, labels = read_pair(pair)
    mask = labels.mask
    entry: dict[str, Any] = {"source": stamps, "shrunk": max(mask.shape) > MAX_SIDE}
    small, small_mask = _shrink(image, mask)
    copy = _copy_of(pair, own, entry)
    if entry["shrunk"]:
        with replacing(copy.image) as temporary:
            Image.fromarray(small).save(temporary, "JPEG", quality=QUALITY)
    with replacing(copy.mask) as temporary:
        Image.fromarray(small_mask).save(temporary, "PNG")
    _verify(copy, small, small_mask)
    return {**entry, "copy": _contents(pair, own, entry)}, True


def _shrink(image: UInt8Array, mask: BoolArray) -> tuple[UInt8Array, BoolArray]:
    height, width = mask.shape
    ratio = MAX_SIDE / max(height, width)
    if ratio >= 1:
        return image, mask
    return frame_whole(image, mask, max(1, round(width * ratio)), max(1, round(height * ratio)))


def _verify(copy: Pair, image: UInt8Array, mask: BoolArray) -> None:
    """Read a copy back: the mask must be equal, the image but for what JPEG loses."""
    written = read_image(copy.image)
    same = written.shape == image.shape and np.abs(written.astype(np.int16) - image).mean() < 16
    if not same or not np.array_equal(read_mask(copy.mask), mask):
        raise PisamError(
            f"{copy.mask}: does not read back as it was written; check the disk and prepare again"
        )


def _copy_of(pair: Pair, own: Path, entry: dict[str, Any]) -> Pair:
    image = own / "images" / f"{pair.id}.jpg" if entry["shrunk"] else pair.image
    return Pair(pair.id, image, own / "masks" / f"{pair.id}.png")


def _is_current(pair: Pair, own: Path, entry: dict[str, Any] | None) -> bool:
    """True where a pair as it is now has its copy, by names and sizes: quick enough for every start."""
    if entry is None or entry["source"] != stamp_of(pair):
        return False
    try:
        sizes = [file.stat().st_size for file in _files_of(pair, own, entry)]
    except OSError:
        return False
    return sizes == [size for _, size in entry["copy"]]


def _contents(pair: Pair, own: Path, entry: dict[str, Any]) -> list[list[str | int]]:
    """[hash, bytes] of the files of a copy; of none for one that is not there."""
    data = [file.read_bytes() if file.is_file() else b"" for file in _files_of(pair, own, entry)]
    return [[content_hash(content), len(content)] for content in data]


def _files_of(pair: Pair, own: Path, entry: dict[str, Any]) -> list[Path]:
    copy = _copy_of(pair, own, entry)
    return [copy.image, copy.mask] if entry["shrunk"] else [copy.mask]


def _folder_of(source: Source, folder: Path) -> Path:
    """Sources of one name but different folders keep apart."""
    return folder / f"{source.name}-{content_hash(source.key)[:8]}"


def _load_index(own: Path) -> Index:
    try:
        stored = parse_json(read_text(own / "index.json"))
        pairs = stored["pairs"] if stored["format"] == FORMAT else {}
        return {
            id_: {
                "source": pair["source"],
                "shrunk": pair["shrunk"],
                "copy": [[hash_, size] for hash_, size in pair["copy"]],
            }
            for id_, pair in pairs.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: unreadable (%s), so the copy counts as missing", own / "index.json", error)
        return {}


def _save_index(index: Index, own: Path) -> None:
    write_text(json.dumps({"format": FORMAT, "pairs": index}), own / "index.json")
