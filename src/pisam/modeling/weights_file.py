"""Weights files: read without executing anything, unwrapped, their numbers checked."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from pisam.core.errors import PisamError

# Under which training code keeps the state of its model, and what it puts before each name.
WRAPPINGS = ("model_state_dict", "state_dict", "model", "module", "net", "params")
PREFIXES = ("module.", "_orig_mod.", "model.", "sam.", "sam_model.", "net.")

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
WHOLE = (torch.int64, torch.int32, torch.bool)

_ARCHIVES = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z", b"Rar!": "rar"}


def read_checkpoint(path: Path) -> dict:
    """A checkpoint's contents; only tensors and plain values are ever unpickled.

    A `.safetensors` file, told by its content, gives its tensors.

    Raises:
        PisamError: absent, truncated, or holding anything else; says what it is where that can be seen.
    """
    if not path.is_file():
        raise PisamError(f"checkpoint {path}: no such file")
    try:
        head = _head(path)
        if _is_safetensors(head):
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of sparse tensors, which are refused below
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises anything: IndexError, struct.error, ...
        raise PisamError(
            f"checkpoint {path}: truncated, or not a file of tensors ({_cause(path, error)})"
        ) from error
    if not isinstance(contents, dict):
        kind = type(contents).__name__
        raise PisamError(f"checkpoint {path}: expected a dictionary of tensors, got {kind}")
    return contents


def unwrap(contents: Mapping[str, Any]) -> dict[str, Any]:
    """The state in a checkpoint: without what training code wraps around it and puts before every name."""
    state = dict(contents)
    while not any(isinstance(value, Tensor) for value in state.values()):
        inner = next((state[key] for key in WRAPPINGS if isinstance(state.get(key), dict)), None)
        if inner is None:
            break
        state = dict(inner)
    while prefix := next((p for p in PREFIXES if state and all(str(n).startswith(p) for n in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def refuse_nonsense(
    state: Mapping[str, Any], *, what: str, own: Mapping[str, Tensor] = MappingProxyType({})
) -> None:
    """Check that a state holds numbers a network can be made of.

    Args:
        state: what was read.
        what: begins the message.
        own: the network's state where that is known: whole numbers fit its whole numbers alone.

    Raises:
        PisamError: something that is no tensor, numbers of another kind (quantised, complex, whole), fewer of
            them than the shape says, NaN or infinity; names the tensor.
    """
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise PisamError(f"{what}: {name} is a {type(value).__name__}; expected a tensor")
        kinds = FLOATS if name in own and own[name].is_floating_point() else (*FLOATS, *WHOLE)
        if value.layout != torch.strided or value.dtype not in kinds or value.is_meta:
            kind = "empty of numbers (meta)" if value.is_meta else f"{value.layout} {value.dtype}"
            kind = kind.replace("torch.", "").replace("strided ", "")
            raise PisamError(
                f"{what}: tensor {name} is {kind}; expected floating-point numbers of 16 bits or more; "
                "take the file that was neither quantised nor converted"
            )
        # A tensor that repeats itself can be of any size, which looking at its values would take.
        if value.untyped_storage().nbytes() < value.numel() * value.element_size():
            raise PisamError(
                f"{what}: tensor {name} of shape {tuple(value.shape)} repeats fewer numbers; expected each "
                "of its own; save a copy (.clone()) of it"
            )
        if value.is_floating_point() and not value.float().isfinite().all():
            count = int((~value.float().isfinite()).sum())
            raise PisamError(
                f"{what}: tensor {name} has {count} of {value.numel()} values that are NaN or infinite; "
                "expected finite weights; take another file, the training of this one failed"
            )


def describe(state: Mapping[str, Any]) -> str:
    """The kind of model that a state seems to be of, for errors about one that does not fit; may be empty."""
    names = [str(name) for name in state]
    patch = state.get("image_encoder.patch_embed.proj.weight")
    sizes = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
    if any(name.startswith("mask_decoder.hf_") for name in names):
        return "it is an HQ-SAM file"
    if any("decoder.object_embedder." in name for name in names):
        return "it is a checkpoint of Pi-SAM, not SAM's weights"
    if any("memory_encoder" in name or name.startswith("sam_mask_decoder.") for name in names):
        return "it is a SAM 2 file"
    if isinstance(patch, Tensor) and patch.ndim == 4 and len(patch) in sizes:
        return f"it is of {sizes[len(patch)]}"
    if any(name.startswith("image_encoder.layers.") for name in names):
        return "it is of vit_t"
    return ""


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < 100_000_000


def _cause(path: Path, error: Exception) -> str:
    """The nature of a file that cannot be loaded, and what to do; in one line."""
    try:
        head = _head(path)
    except OSError as unreadable:
        return f"it cannot be read: {unreadable.strerror}"
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if not head:
        return "it is empty; copy or download it again"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of git-lfs, not the file; run git lfs pull, or download the file itself"
    if start.startswith(b"<"):
        return "it is a web page, as a failed download leaves; download the file again"
    if start.startswith((b"{", b"[")):
        return "it is JSON text; expected what torch.save or safetensors wrote"
    archive = next((name for magic, name in _ARCHIVES.items() if head.startswith(magic)), None)
    if archive or head[257:262] == b"ustar":
        return f"it is a {archive or 'tar'} archive; unpack it first"
    if zipfile.is_zipfile(path) and not _has_tensors(path):
        return "it is a zip archive without tensors of torch.save; unpack it first"
    if head.isascii() and head.decode("ascii").isprintable():
        return "it is text; expected what torch.save or safetensors wrote"
    if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it holds {found[1]}, and tensors alone are ever loaded; save the state_dict of its model"
    reason = str(error).strip().splitlines()[0][:150] if str(error).strip() else type(error).__name__
    return "it cannot be read; copy or download it again" if "weights_only" in reason else reason


def _has_tensors(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, EOFError):
        return True  # damaged: torch's own words say more
