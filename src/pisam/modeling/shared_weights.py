"""A trained model's own weights as one small `.safetensors` file, half precision, to be shared and kept.

Its metadata say which model it is: what a checkpoint says of itself, as JSON, and a hash of the weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pisam.core.errors import PisamError
from pisam.core.files import local_path, parse_json, replacing
from pisam.modeling.sam_network import SamNetwork
from pisam.modeling.sam_weights import hash_tensors

SUFFIX = ".safetensors"
IDENTITY, HASH = "pisam", "weights_hash"


def save_model(model: SamNetwork, path: str | Path, *, half: bool = True) -> None:
    """Write a model's own weights; frozen SAM's stay in SAM's file, of which the hash is noted.

    Args:
        model: any of ours.
        path: of the file, `*.safetensors`; one that exists is replaced.
        half: parameters in half precision; buffers stay as they are.

    Raises:
        ValueError: another suffix, or no model of ours.
        PisamError: the file cannot be written; a weight is no finite number, or too large for half precision.
    """
    if not isinstance(model, SamNetwork):
        raise ValueError(f"save_model: expected what load_model gives, got {type(model).__name__}")
    target = local_path(path, "save_model")
    if target.suffix != SUFFIX:
        raise ValueError(f"save_model: expected a path that ends in {SUFFIX}, got {target}")
    parameters = {name for name, _ in model.named_parameters()}
    state = {
        name: (value.half() if half and name in parameters else value).contiguous().cpu()
        for name, value in model.own_state().items()
    }
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise PisamError(
                f"save_model {target}: {name} has values that are NaN, infinite, or above 65504, the most "
                "that half precision holds; half=False keeps large ones"
            )
    # One entry, for those of a file have no order: the same model gives the same bytes.
    facts = {IDENTITY: json.dumps({**model.identity(), HASH: hash_tensors(state)})}
    with replacing(target) as temporary:
        temporary.write_bytes(save(state, metadata=facts))  # save_file lets nobody else read it


def read_shared(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a file of `save_model`, in single precision, and the model's identity.

    Raises:
        PisamError: absent, damaged or not written by `save_model`.
    """
    if not path.is_file():
        raise PisamError(f"checkpoint {path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            facts = parse_json((file.metadata() or {})[IDENTITY])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise PisamError(
            f"checkpoint {path}: not written by pisam, or truncated ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(facts, dict) or hash_tensors(state) != facts.pop(HASH, None):
        raise PisamError(f"checkpoint {path}: damaged, its checksum does not fit; get the file anew")
    return {name: value.float() for name, value in state.items()}, facts
