"""A git repository for tests of what a run says of its code."""

from __future__ import annotations

import subprocess
from pathlib import Path


def write_repository(folder: Path) -> Path:
    """One commit of `code.py`: the line `lr = 1`."""
    folder.mkdir(exist_ok=True)
    (folder / "code.py").write_text("lr = 1\n")
    identity = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    for arguments in (("init", "-q"), ("add", "code.py"), (*identity, "commit", "-q", "-m", "code")):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder
