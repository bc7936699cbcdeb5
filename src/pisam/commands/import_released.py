"""Turn a checkpoint that the authors released into one of ours, and print where it is.

    pisam import-released CKPT [out=FILE]

group: Use
out=FILE: in place of CKPT-pisam.ckpt beside it
"""

from __future__ import annotations

from pathlib import Path

import torch

from pisam.commands.shared.command import Arguments
from pisam.core.errors import PisamError
from pisam.core.files import local_path, replacing


def run(arguments: Arguments) -> None:
    """Convert the checkpoint."""
    checkpoint = local_path(arguments.words[0], "import-released")
    if not checkpoint.is_file():
        raise PisamError(f"import-released: no file {checkpoint}")
    out = arguments.own.get("out")
    print(import_released(checkpoint, Path(out) if out else None))


def import_released(checkpoint: Path, out: Path | None = None) -> Path:
    """Write a released checkpoint as one of ours, beside it unless `out` is given.

    Raises:
        PisamError: not a released checkpoint, or the file to write exists already.
    """
    from pisam.modeling.released import import_released as convert

    target = out or checkpoint.with_name(f"{checkpoint.stem}-pisam.ckpt")
    if target.exists():
        raise PisamError(f"import-released: {target} exists already; name another file with out=...")
    contents = convert(checkpoint)
    with replacing(target) as temporary:
        torch.save(contents, temporary)
    return target
