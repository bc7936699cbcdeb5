"""The folder of a report: it takes the place of an earlier one as a whole, and of nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pisam import __version__
from pisam.core.errors import PisamError
from pisam.core.files import write_json, writing

CONTENTS = "report.json"  # lists what a report consists of
MADE_BY = "pisam report"


def refuse_foreign_folder(folder: Path) -> None:
    """Refuse to take the place of a folder that holds anything but an earlier report.

    Raises:
        PisamError: names what else is there.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise PisamError(f"report: {folder} is no folder; move it away")
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    others = sorted(here - _contents(folder))
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise PisamError(
            f"report: {folder} holds {others[0]}{more}, which no report consists of; move them away, "
            "nothing was changed"
        )


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill beside `folder`, which it replaces when the block ends well.

    Raises:
        PisamError: see `refuse_foreign_folder` and `files.writing`; what was there before is untouched.
    """
    refuse_foreign_folder(folder)
    new, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{what}") for what in ("new", "old"))
    try:
        with writing(folder):
            new.mkdir(parents=True)
            yield new
            files = sorted(path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file())
            contents = {"made_by": MADE_BY, "version": __version__, "files": [*files, CONTENTS]}
            write_json(contents, new / CONTENTS)
            refuse_foreign_folder(folder)  # again: something may have been saved there meanwhile
            if folder.exists():
                folder.rename(old)
            try:
                new.rename(folder)
            except OSError:
                with suppress(OSError):
                    old.rename(folder)
                raise
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _contents(folder: Path) -> set[str]:
    """The files that an earlier report lists as its own; none where there is no such report."""
    try:
        told = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        return {*told["files"]} if told["made_by"] == MADE_BY else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()
