"""Findings about pairs, remembered between runs in the user's cache folder.

Data folders are never written to. One file per kind of finding and source. A pair is looked at again when
the size or a time of its image or mask changed, and all are when the rules did. Of the two times that of
modification can be set, as copies and archives do, that of change cannot. A damaged file counts as none.
"""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import cv2
from tqdm import tqdm

from pisam.core.errors import PisamError
from pisam.core.files import read_text, write_text
from pisam.data.audit.duplicates import content_hash
from pisam.data.sources.pairs import Pair
from pisam.data.sources.rows import Source

log = logging.getLogger(__name__)

# Times in ns and bytes of the image, then of the mask; what was found, as JSON has it.
Known = dict[str, tuple[list[int], Any]]


def remembered(
    kind: str,
    source: Source,
    pairs: Sequence[Pair],
    find: Callable[[Pair], Any],
    *,
    rules: str,
    keep: Callable[[Any], bool] = lambda found: True,
) -> list[Any]:
    """The findings of `find` about each pair, in their order; only new and changed pairs are looked at.

    An interrupted search keeps what it has found.

    Args:
        kind: of finding, names its files and the progress bar.
        find: gives plain values, as JSON keeps them.
        rules: other rules forget all.
        keep: whether a finding may be remembered.
    """
    file = cache_folder() / kind / f"{content_hash(source.key)}.json"
    known = _load(file, rules)
    stamps = {pair: stamp_of(pair, "st_mtime_ns", "st_ctime_ns", "st_size") for pair in pairs}
    values = {
        pair: known[key][1]
        for pair, stamp in stamps.items()
        if (key := _key(pair)) in known and known[key][0] == stamp
    }
    new = [pair for pair in pairs if pair not in values]
    found = in_threads(find, new, f"{kind} of {source.name}")
    try:
        for pair, value in zip(new, found, strict=True):
            values[pair] = value
    finally:
        fresh = {
            _key(pair): (stamp, values[pair])
            for pair in new
            if pair in values and keep(values[pair]) and (stamp := stamps[pair]) is not None
        }
        if fresh:
            _save(known | fresh, file, rules)
    return [values[pair] for pair in pairs]


def cache_folder() -> Path:
    """`$PISAM_CACHE`, else `pisam` in the user's cache folder (XDG)."""
    if own := os.environ.get("PISAM_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "pisam"
    home = os.path.expanduser("~")
    # Without a home nothing can be remembered, which is said when it is tried.
    return Path(os.devnull if home == "~" else home) / ".cache" / "pisam"


def stamp_of(pair: Pair, *fields: str) -> list[int] | None:
    """Some fields of the image's `os.stat`, then of the mask's; None if one is not there.

    By default modification time in ns and bytes, which a copy on another machine may share.
    """
    try:
        stats = [os.stat(file) for file in (pair.image, pair.mask)]
    except OSError:
        return None
    return [getattr(stat, field) for stat in stats for field in fields or ("st_mtime_ns", "st_size")]


def _key(pair: Pair) -> str:
    return f"{pair.image.name}/{pair.mask.name}"


def _load(file: Path, rules: str) -> Known:
    try:
        digest, _, text = read_text(file).partition("\n")
    except (OSError, ValueError):
        return {}
    known: Known = json.loads(text) if digest == _digest(rules, text) else {}
    return known


def _save(known: Known, file: Path, rules: str) -> None:
    # Names that are no UTF-8 come back as they were: JSON escapes their bytes.
    text = json.dumps(known)
    try:
        write_text(f"{_digest(rules, text)}\n{text}", file)
    except PisamError as error:
        _warn(file.parent, getattr(error.__cause__, "strerror", None) or str(error))


@functools.cache
def _warn(folder: Path, reason: str) -> None:
    log.warning("%s: what is found cannot be remembered there (%s); set PISAM_CACHE", folder, reason)


def _digest(rules: str, text: str) -> str:
    return content_hash(f"{rules}\n{text}".encode())


Item = TypeVar("Item")
Result = TypeVar("Result")

# A pair of 24 megapixels takes some 200 MB while it is read.
MOST = 16


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], progress: str) -> Iterator[Result]:
    """The result of each item, in their order; `progress` stands beside the bar on a terminal.

    Threads are as fast as processes here, for decoding runs outside of Python's lock. An error, or Ctrl-C,
    ends it with the items that are under way.
    """
    if not items:
        return
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads, pool = cv2.getNumThreads(), ThreadPoolExecutor(min(MOST, available))
    cv2.setNumThreads(1)
    try:
        yield from tqdm(pool.map(function, items), progress, len(items), unit="pair", disable=None)
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)
