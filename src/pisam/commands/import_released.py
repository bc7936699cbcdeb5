"""`pisam import-released`: a checkpoint of the authors as one of ours."""

from __future__ import annotations

from pathlib import Path

import torch

from pisam.core.errors import PisamError
from pisam.core.files import replacing


def import_released(checkpoint: Path, out: Path | None = None) -> Path:
    """Write a released checkpoint as one of ours, beside it unless told where.

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
