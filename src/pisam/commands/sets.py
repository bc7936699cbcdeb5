"""List where the published sets are to be had, and which of them are there.

    pisam sets [EXPERIMENT] [data.root=DIR] [key=value ...]

group: Data
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pisam.commands.shared.command import Arguments
from pisam.core.errors import PisamError
from pisam.core.files import local_path
from pisam.data.sources.known_sets import GROUPS, HQSEG_44K, KNOWN_SETS, KnownSet, Layout
from pisam.data.sources.pairs import match_files
from pisam.data.sources.rows import find_known, published_pairs

CONTINUED = "\n" + " " * 43  # below "expected"


def run(arguments: Arguments) -> None:
    """List the sets below the data root of the experiment, or of the environment."""
    named = arguments.experiment or arguments.overrides
    root = arguments.config().data.root if named else os.environ.get("PISAM_DATA_ROOT")
    print(list_sets(local_path(root, "PISAM_DATA_ROOT") if root else None))


def list_sets(root: Path | None) -> str:
    """List what is there of each set below the data root, if any, and a paragraph per publication."""
    publications = dict.fromkeys([*(known.publication for known in KNOWN_SETS.values()), HQSEG_44K])
    where = "no data root is set: data.root=DIR or PISAM_DATA_ROOT" if root is None else f"below {root}:"
    lines = [where, *(_line(name, known, root) for name, known in KNOWN_SETS.items())]
    lines += [f"  {name:<16} {sum(parts.values())} of {_counted(parts)}" for name, parts in GROUPS.items()]
    for publication in publications:
        lines += ["", publication.title, f"  from   {publication.page}", f"  terms  {publication.terms}"]
    return "\n".join(lines)


def _counted(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({pairs})" for name, pairs in parts.items())


def _folders(layout: Layout) -> str:
    return " + ".join(filter(None, (layout.images, layout.masks, layout.names)))


def _line(name: str, known: KnownSet, root: Path | None) -> str:
    return f"  {name:<16} {known.role:<6} {_state(name, known, root)}"


def _state(name: str, known: KnownSet, root: Path | None) -> str:
    source = find_known(name, root) if root is not None else None
    if source is None:
        places = [f"{at.pairs} pairs in {_folders(at)}" for at in known.layouts]
        return f"absent; expected {f'{CONTINUED}or '.join(places)}"
    try:
        matched = match_files(source)
    except PisamError as error:
        return f"present, but {error}"
    gaps = f", {len(matched.gaps)} gaps (see pisam audit)" if matched.gaps else ""
    expected = published_pairs(source)
    return f"present: {len(matched.pairs)} of {expected} pairs in {source.images}{gaps}"
