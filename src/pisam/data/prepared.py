"""A prepared copy of training sources, which decodes many times faster: smaller images, masks of one bit.

Per source a folder with `images/ID.jpg` (longest side at most `MAX_SIDE` pixels, averaged down), with
`masks/ID.png` (object where it covers at least half of a pixel, as in the network frame) and `index.json`. An
image within the limit already is not copied, only its mask. The index names the size and modification time of
the files that a copy was made from and the hash of what was written: what changed is made anew, and what was
damaged too.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from pisam.data.fingerprints import content_hash
from pisam.data.pairs import Pair, list_pairs
from pisam.data.reading import BoolArray, UInt8Array, check_sizes, read_image, read_mask
from pisam.data.sources import Source
from pisam.data.targets import read_target
from pisam.data.transforms import frame_whole
from pisam.errors import PisamError
from pisam.files import replacing, sweep_temporaries

log = logging.getLogger(__name__)

MAX_SIDE = 2048
QUALITY = 92
FORMAT = 1  # of the index and of the rules above
SAVE_EVERY = 100

Index = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Prepared:
    """What `prepare_source` did: pairs made, and pairs that were there, whole and up to date."""

    made: int
    kept: int


def prepare_source(source: Source, folder: Path) -> Prepared:
    """Make what is missing, outdated or damaged in the copy of a source; interrupted, it goes on later.

    Args:
        source: whose pairs to copy.
        folder: of all prepared sources.

    Raises:
        PisamError: a pair cannot be read, or what was written does not read back as it should.
    """
    own = _folder_of(source, folder)
    for part in ("images", "masks"):
        (own / part).mkdir(parents=True, exist_ok=True)
        sweep_temporaries(own / part)
    index, pairs = _load_index(own), list_pairs(source)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    made, pool = 0, ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        entries = pool.map(lambda pair: _entry(pair, own, index.get(pair.id)), pairs)
        for pair, (entry, new) in zip(_progress(pairs, source.name), entries, strict=True):
            index[pair.id] = entry
            made += new
            if new and made % SAVE_EVERY == 0:
                _save_index(index, own)
    finally:
        pool.shutdown(cancel_futures=True)
        _save_index(index, own)
        cv2.setNumThreads(threads)
    return Prepared(made, len(pairs) - made)


def prepared_pairs(source: Source, folder: Path) -> list[Pair]:
    """The pairs of a source as they lie in its copy.

    Raises:
        PisamError: some are missing there, or their originals changed since.
    """
    own, pairs = _folder_of(source, folder), list_pairs(source)
    index = _load_index(own)
    outdated = [pair for pair in pairs if index.get(pair.id, {}).get("source") != _stamps(pair)]
    if outdated:
        raise PisamError(
            f"data.prepared {folder}: {len(outdated)} of {len(pairs)} pairs of {source.name} are missing or "
            f"older than their files (first: {outdated[0].image}); expected all; run pisam prepare again"
        )
    return [_copy_of(pair, own, index[pair.id]) for pair in pairs]


def _entry(pair: Pair, own: Path, known: dict[str, Any] | None) -> tuple[dict[str, Any], bool]:
    """The index entry of a pair, and whether its copy had to be made."""
    stamps = _stamps(pair)
    if known is not None and known["source"] == stamps and known["copy"] == _hashes(pair, own, known):
        return known, False
    image, mask = read_image(pair.image), read_target(pair)
    check_sizes(pair.image, image.shape, pair.mask, mask.shape)
    entry: dict[str, Any] = {"source": stamps, "shrunk": max(mask.shape) > MAX_SIDE}
    small, small_mask = _shrink(image, mask)
    copy = _copy_of(pair, own, entry)
    if entry["shrunk"]:
        with replacing(copy.image) as temporary:
            Image.fromarray(small).save(temporary, "JPEG", quality=QUALITY)
    with replacing(copy.mask) as temporary:
        Image.fromarray(small_mask).save(temporary, "PNG")
    _verify(copy, small, small_mask)
    return {**entry, "copy": _hashes(pair, own, entry)}, True


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


def _hashes(pair: Pair, own: Path, entry: dict[str, Any]) -> list[str]:
    """Of the files of a copy; empty for one that is not there."""
    copy = _copy_of(pair, own, entry)
    files = [copy.image, copy.mask] if entry["shrunk"] else [copy.mask]
    return [content_hash(file.read_bytes()) if file.is_file() else "" for file in files]


def _stamps(pair: Pair) -> list[int]:
    """Modification time in ns and bytes of the image, then of the mask."""
    stats = [os.stat(file) for file in (pair.image, pair.mask)]
    return [number for stat in stats for number in (stat.st_mtime_ns, stat.st_size)]


def _folder_of(source: Source, folder: Path) -> Path:
    """Sources of one name but different folders keep apart."""
    folders = "\0".join(os.path.abspath(part) for part in (source.images, source.masks))
    meaning = "\0ids" if source.ids else ""
    return folder / f"{source.name}-{content_hash(os.fsencode(folders + meaning))[:8]}"


def _load_index(own: Path) -> Index:
    try:
        stored = json.loads((own / "index.json").read_text(encoding="utf-8"))
        pairs = stored["pairs"] if stored["format"] == FORMAT else {}
        return {id_: {key: pair[key] for key in ("source", "shrunk", "copy")} for id_, pair in pairs.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: unreadable (%s), so the copy counts as missing", own / "index.json", error)
        return {}


def _save_index(index: Index, own: Path) -> None:
    with replacing(own / "index.json") as temporary:
        temporary.write_text(json.dumps({"format": FORMAT, "pairs": index}), encoding="utf-8")


def _progress(pairs: Sequence[Pair], name: str) -> Iterator[Pair]:
    yield from tqdm(pairs, f"preparing {name}", unit="pair", disable=None)
