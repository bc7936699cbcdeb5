"""SAM checkpoints: found, fitted to the frame size, loaded strictly, hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pisam.core.errors import PisamError
from pisam.core.files import local_path
from pisam.modeling.backbone_table import BACKBONES
from pisam.modeling.backbones import PATCH, SamParts, build_sam_parts
from pisam.modeling.weights_file import describe, read_checkpoint, refuse_nonsense, unwrap

FILE_PATTERNS = {name: row.weights for name, row in BACKBONES.items() if row.weights}
# In published files, but no part of what is used here: the classifier of TinyViT.
DECLARED_UNUSED = ("image_encoder.head.*", "image_encoder.norm_head.*")


def find_sam_weights(location: str | Path, backbone: str) -> Path:
    """The checkpoint of `backbone`: the file itself, or the one of its name in a directory.

    Raises:
        PisamError: no such file, or not exactly one in the directory.
    """
    path = local_path(location, f"SAM weights for {backbone}")
    if path.is_file():
        return path
    pattern = FILE_PATTERNS[backbone]
    if not path.is_dir():
        raise PisamError(f"SAM weights for {backbone}: no file or directory {path}")
    found = sorted(path.glob(pattern))
    if len(found) != 1:
        what = "none" if not found else ", ".join(file.name for file in found)
        raise PisamError(f"SAM weights for {backbone}: expected one {pattern} in {path}, found {what}")
    return found[0]


def load_sam(backbone: str, weights: str | Path | None, image_size: int) -> SamParts:
    """A SAM with its weights.

    Args:
        backbone: nano, vit_t, vit_b, vit_l or vit_h.
        weights: SAM's checkpoint or a directory of them; default: $PISAM_WEIGHTS. `nano` has none.
        image_size: side S of the square frame, a multiple of 64.

    Raises:
        PisamError: weights absent, unreadable or of another model.
        ValueError: unknown backbone or a size that is no multiple of 64.
    """
    path = None
    if isinstance(backbone, str) and backbone in FILE_PATTERNS:
        location = weights or os.environ.get("PISAM_WEIGHTS")
        if location is None:
            raise PisamError(
                f"SAM weights for {backbone}: none given; set model.weights or PISAM_WEIGHTS to SAM's "
                "checkpoint or a directory that holds it"
            )
        path = find_sam_weights(location, backbone)
    parts = build_sam_parts(backbone, image_size)
    if path is not None:
        load_sam_weights(parts, path, image_size)
    return parts


def load_sam_weights(parts: SamParts, path: Path, image_size: int) -> None:
    """Load a SAM checkpoint into `parts`, strictly, after the declared names are removed.

    Raises:
        PisamError: unreadable file, or names or shapes that differ; the message lists them.
    """
    load_sam_state(parts, unwrap(read_checkpoint(path)), image_size, what=f"SAM weights {path}")


def load_sam_state(parts: SamParts, state: Mapping[str, Tensor], image_size: int, *, what: str) -> None:
    """Load a state in SAM's names; see `load_sam_weights`, `what` begins the message of an error."""
    used = {
        name: value
        for name, value in state.items()
        if not any(fnmatch(name, pattern) for pattern in DECLARED_UNUSED)
    }
    modules = nn.ModuleDict(
        {
            "image_encoder": parts.image_encoder,
            "prompt_encoder": parts.prompt_encoder,
            "mask_decoder": parts.mask_decoder,
        }
    )
    refuse_nonsense(used, what=what, own=modules.state_dict())
    load_strictly(modules, fit_positions(used, image_size), what=what)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], *, what: str) -> None:
    """`load_state_dict` whose error is one line: how many names differ, and the first of each kind.

    Raises:
        PisamError: missing names, unexpected names, other shapes, or values that are no weights; nothing is
            loaded then.
    """
    own = module.state_dict()
    # A module's own values, given back to it, are as good as they were.
    given = {k: v for k, v in state.items() if k not in own or not _is_same(own[k], v)}
    refuse_nonsense(given, what=what, own=own)
    kinds = {
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of another shape": sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape),
    }
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
        for kind, names in kinds.items()
        if names
    ]
    if problems:
        kind = f" ({description})" if (description := describe(state)) else ""
        raise PisamError(f"{what}: does not fit this model: {'; '.join(problems)}{kind}")
    module.load_state_dict(state)


def _is_same(one: Tensor, other: object) -> bool:
    if not isinstance(other, Tensor) or other.layout != torch.strided or other.shape != one.shape:
        return False
    return other.data_ptr() == one.data_ptr()


def fit_positions(state: dict[str, Tensor], image_size: int) -> dict[str, Tensor]:
    """Interpolate a ViT's position tables to another frame size; TinyViT has none, and is left as it is.

    `pos_embed` is resized bicubically; the `rel_pos` tables of the global blocks, told by their length,
    linearly. Windows keep their size, so their tables stay.
    """
    table = state.get("image_encoder.pos_embed")
    side = image_size // PATCH
    if table is None or table.ndim != 4 or table.shape[1] == side:
        return state
    trained_side = table.shape[1]
    resized = F.interpolate(
        table.permute(0, 3, 1, 2), (side, side), mode="bicubic", antialias=True, align_corners=False
    )
    fitted = dict(state) | {"image_encoder.pos_embed": resized.permute(0, 2, 3, 1)}
    for name, value in state.items():
        if ".rel_pos_" in name and value.ndim == 2 and len(value) == 2 * trained_side - 1:
            fitted[name] = F.interpolate(value.T[None], 2 * side - 1, mode="linear")[0].T
    return fitted


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
