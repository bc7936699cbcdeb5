"""Checkpoints of ours: read, checked and loaded; each names the model that it belongs to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pisam.core.errors import PisamError
from pisam.core.files import local_path, refuse_damaged
from pisam.modeling.pisam import PiSam, build_model
from pisam.modeling.sam_network import SamNetwork
from pisam.modeling.shared_weights import SUFFIX, read_shared
from pisam.modeling.weights_file import read_checkpoint

log = logging.getLogger(__name__)

CHECKPOINT_KEY = "pisam"  # where a checkpoint of ours says which model it belongs to
PAPER = {
    "from_sam": False,
    "local": False,
    "reprompt": False,
    "guard": False,
}  # what a checkpoint means that does not say how it departs from the paper
Network = TypeVar("Network", bound=SamNetwork)


def load_model(
    checkpoint: str | Path, weights: str | Path | None = None, image_size: int | None = None
) -> PiSam:
    """Load the model of a checkpoint of ours, in evaluation mode; the checkpoint names its SAM.

    Args:
        checkpoint: a stage's `.ckpt`, what `pisam import-released` wrote, a `.safetensors` file of
            `save_model`, or a folder of `save_pretrained`.
        weights: as in `build_model`.
        image_size: side S of the square frame, a multiple of 64; default: that of its training. A larger one
            shows finer detail and takes longer.

    Raises:
        PisamError: not a checkpoint of ours, or made on other SAM weights.
        ValueError: a size that is no multiple of 64.
    """
    if checkpoint == "":  # which would be the folder that this runs in
        raise PisamError("checkpoint: expected a file or a folder, got an empty path")
    path = local_path(checkpoint, "checkpoint")
    if path.is_dir():
        from pisam.modeling.hub import from_pretrained

        return from_pretrained(path, weights, image_size)
    contents = read_own_checkpoint(path)
    identity = read_identity(contents, path)
    departs = {name: identity[name] for name in PAPER}
    build = partial(build_model, identity["backbone"], weights, **departs)
    return load_in_frame(build, contents, path, image_size).eval()


def load_in_frame(
    build: Callable[[int], Network], contents: dict, path: Path, image_size: int | None = None
) -> Network:
    """Build the network of a checkpoint and load it, for the frame of its training or for another one.

    Own weights know no frame. SAM's position tables are fitted to one: that it is the same SAM is checked in
    the frame of the training. A guard has seen its training pictures in that frame alone: in another one it
    may take pictures like them for strange, and let SAM's mask stand. So another frame is logged.

    Args:
        build: gives the network without its own weights, for a side of the frame.
        contents: of the checkpoint.
        path: its file.
        image_size: side S of the frame; default: that of its training.

    Raises:
        PisamError: as `load_checkpoint`, or a network that cannot be built.
        ValueError: an `image_size` that no network can have.
    """
    trained = read_identity(contents, path)["image_size"]
    try:
        model = build(trained)
    except ValueError as error:
        raise PisamError(f"checkpoint {path}: made for a model that cannot be built: {error}") from error
    load_checkpoint(model, contents, path)
    if image_size is not None and image_size != trained:
        state, model = model.own_state(), build(image_size)
        model.load_own_state(state, what=f"checkpoint {path}")
        guarded = "; its guard may take pictures like those of training for strange there"
        log.warning(
            "checkpoint %s: trained with frames of %d px, used with %d%s",
            path,
            trained,
            image_size,
            guarded if model.identity().get("guard") else "",
        )
    return model


def read_own_checkpoint(location: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint of ours, each byte checked; nothing in it is ever executed.

    Raises:
        PisamError: a URL, absent, truncated, damaged, holding anything but tensors and plain values, or not
            a checkpoint of ours.
    """
    path = local_path(location, "checkpoint")
    if path.suffix == SUFFIX:
        state, identity = read_shared(path)
        contents: dict[str, Any] = {"state_dict": state, CHECKPOINT_KEY: identity}
    else:
        if path.is_file():
            refuse_damaged(path)
        contents = read_checkpoint(path)
    read_identity(contents, path)
    return contents


def load_checkpoint(model: SamNetwork, contents: dict, path: Path) -> None:
    """Load a checkpoint of ours into `model` after checking that it belongs to it.

    Raises:
        PisamError: another backbone, frame size, decoder or frozen part; the first difference is named.
    """
    theirs, ours = read_identity(contents, path), model.identity()
    for key, value in ours.items():
        if theirs.get(key) != value:
            raise PisamError(f"checkpoint {path}: made with {key} {theirs.get(key)}, this model has {value}")
    prefix = "model."
    state = {name.removeprefix(prefix): value for name, value in contents["state_dict"].items()}
    model.load_own_state(state, what=f"checkpoint {path}")


def read_identity(contents: dict, path: Path) -> dict[str, Any]:
    """The identity of a checkpoint's model: see `SamNetwork.identity`.

    Raises:
        PisamError: not a checkpoint of ours.
    """
    identity = contents.get(CHECKPOINT_KEY)
    if (
        not isinstance(identity, dict)
        or not isinstance(identity.get("backbone"), str)
        or type(identity.get("image_size")) is not int
        or not isinstance(contents.get("state_dict"), dict)
        or not all(isinstance(name, str) for name in contents["state_dict"])
        or not all(isinstance(identity.get(name, value), bool) for name, value in PAPER.items())
    ):
        raise PisamError(
            f"checkpoint {path}: not written by pisam; a released Pi-SAM file goes through "
            f"`pisam import-released {path}` first"
        )
    return {**PAPER, **identity}


def checkpoint_of(model: SamNetwork) -> dict[str, Any]:
    """Contents of a checkpoint of ours: own weights under Lightning's names, and the model's identity."""
    return {
        "state_dict": {f"model.{name}": value for name, value in model.own_state().items()},
        CHECKPOINT_KEY: model.identity(),
    }
