"""The W&B run that a stage belongs to, kept in its folder: a resumed stage goes on with the same one."""

from __future__ import annotations

import secrets
from pathlib import Path

from pisam.core.files import replacing


def new_run_id(folder: Path) -> None:
    """Choose one for a stage that begins; an attempt that left no checkpoint behind is another run."""
    with replacing(folder / "wandb_id") as temporary:
        temporary.write_text(secrets.token_hex(4) + "\n", encoding="ascii")


def read_run_id(folder: Path) -> str | None:
    """The one of a stage that has begun with W&B."""
    path = folder / "wandb_id"
    return path.read_text(encoding="ascii").strip() if path.is_file() else None
