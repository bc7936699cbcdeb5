"""Facts about pairs, remembered between runs in the user's cache folder; data folders are never written to.

One file per image and mask folder. A pair is read again when a size or modification time of its files
changed, and everything is when the rules of reading did. A damaged cache counts as none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np
import PIL

from pisam.data import fingerprints, image_files, pair_facts, reading
from pisam.data.pair_facts import PairFacts, examine_all
from pisam.data.pairs import Pair
from pisam.data.sources import Source
from pisam.errors import PisamError
from pisam.files import replacing

log = logging.getLogger(__name__)

# (modification time in ns, bytes) of the image, then of the mask.
Stamp = tuple[int, int, int, int]
Known = dict[tuple[str, str], tuple[Stamp, PairFacts]]


def facts_of(source: Source, pairs: Sequence[Pair]) -> list[PairFacts]:
    """The facts of the pairs of a source, in their order; only new and changed files are read."""
    file = _cache_file(source)
    known = _load(file)
    found: dict[Pair, PairFacts] = {}
    stamps = {pair: _stamp(pair) for pair in pairs}
    for pair, stamp in stamps.items():
        before = known.get(_key(pair))
        if before is not None and before[0] == stamp:
            found[pair] = before[1]
    new = [pair for pair in pairs if pair not in found]
    if new:
        found |= zip(new, examine_all(new, f"reading {source.name}"), strict=True)
        # What cannot be read is not remembered: permissions are mended without a new modification time.
        known |= {
            _key(pair): (stamp, found[pair])
            for pair in new
            if not found[pair].problem and (stamp := stamps[pair]) is not None
        }
        _save(known, file)
    return [found[pair] for pair in pairs]


def cache_folder() -> Path:
    """`$PISAM_CACHE`, else `pisam` in the user's cache folder (XDG)."""
    if own := os.environ.get("PISAM_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pisam"


def _cache_file(source: Source) -> Path:
    folders = "\0".join(os.path.abspath(folder) for folder in (source.images, source.masks))
    meaning = "\0ids" if source.ids else ""
    return cache_folder() / "audit" / f"{fingerprints.content_hash(os.fsencode(folders + meaning))}.json"


def _key(pair: Pair) -> tuple[str, str]:
    return pair.image.name, pair.mask.name


def _stamp(pair: Pair) -> Stamp | None:
    try:
        image, mask = os.stat(pair.image), os.stat(pair.mask)
    except OSError:
        return None
    return image.st_mtime_ns, image.st_size, mask.st_mtime_ns, mask.st_size


def _rules() -> str:
    """Changes whenever the same files might be read differently."""
    modules = (fingerprints, image_files, pair_facts, reading)
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in modules)
    versions = f"{PIL.__version__} {np.__version__} {cv2.__version__}"
    return hashlib.blake2b(code + versions.encode(), digest_size=12).hexdigest()


def _load(file: Path) -> Known:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["rules"] != _rules():
            return {}
        known: Known = {}
        for image, mask, stamp, (width, height, share, soft, content, look) in stored["pairs"]:
            numbers = (int(width), int(height), float(share), float(soft))
            int(look or "0", 16)
            known[image, mask] = (tuple(stamp), PairFacts("", *numbers, str(content), look))
        return known
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _save(known: Known, file: Path) -> None:
    rows = [[*key, stamp, astuple(facts)[1:]] for key, (stamp, facts) in known.items()]
    try:
        with replacing(file) as temporary:
            # Names that are no UTF-8 come back as they were: JSON escapes their bytes.
            temporary.write_text(json.dumps({"rules": _rules(), "pairs": rows}), encoding="utf-8")
    except PisamError as error:
        log.warning("findings cannot be remembered (%s); set PISAM_CACHE", error)
