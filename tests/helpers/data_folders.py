"""Folders of empty files."""

from __future__ import annotations

from pathlib import Path


def touch(folder: Path, *names: str) -> Path:
    """`folder`, made with empty files of these names in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder
