"""MODEL and other arguments of the commands that use a model: predict, refine, export, serve, demo.

MODEL is a checkpoint (.ckpt, .safetensors), the folder of a run, or one that `pisam export` wrote; by default
the trained model of the repository, else the run of the quick start.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pisam.commands.shared.command import Arguments
from pisam.core.errors import PisamError
from pisam.core.files import local_path
from pisam.predictor.engine import Engine
from pisam.training.run_folder import best_checkpoint

if TYPE_CHECKING:
    from pisam.modeling.pisam import PiSam

TRAINED = Path("experiments", "results", "real_small", "pisam_vit_t.safetensors")
QUICK_START = Path("runs", "quickstart")


def find_model(arguments: Arguments) -> Path:
    """The checkpoint or exported folder that the argument MODEL means; raises PisamError: there is none."""
    model = arguments.words[0] if arguments.words else None
    if model is None:
        places = [TRAINED, Path(__file__).resolve().parents[2] / TRAINED, QUICK_START]  # package data, too
        found = [path for path in places if path.exists()]
        if not found:
            raise PisamError(
                f"no model: neither {TRAINED} nor {QUICK_START} is here; give a checkpoint, a run or an "
                "exported folder, or train the quick start with make stage1 stage2"
            )
        model = str(found[0])
    path = local_path(model, "model")
    if not path.exists():
        raise PisamError(
            f"model {path}: no such file or folder; expected a checkpoint, a run or an exported folder"
        )
    if path.is_file() or (path / "meta.json").is_file():
        return path
    weights = sorted(path.glob("*.safetensors"))
    if best := best_checkpoint(path, stages=(2, 1)) or next(iter(weights), None):
        return best
    raise PisamError(
        f"model {path}: neither a run (stage2/checkpoints/best.ckpt) nor exported (meta.json) nor "
        ".safetensors in it"
    )


def is_exported(path: Path) -> bool:
    """True where `find_model` found a folder of ONNX graphs."""
    return path.is_dir()


def load_torch(arguments: Arguments, path: Path, device: str | None = None) -> PiSam:
    """The network of a checkpoint in the frame asked for, in evaluation mode; on a GPU where there is one.

    Raises:
        PisamError: as `load_model`, or a frame that no network can have.
    """
    import torch

    from pisam.modeling.checkpoint import load_model

    size = arguments.own.get("image_size")
    try:
        model = load_model(path, image_size=None if size is None else int(size))
    except ValueError as error:
        raise PisamError(str(error)) from error
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def load_engines(arguments: Arguments, devices: int = 1) -> list[Engine]:
    """The engines of sessions on MODEL, one per device; without torch where it is exported.

    Raises:
        PisamError: no such model, it cannot be loaded in that frame, or fewer GPUs than devices.
    """
    path = find_model(arguments)
    if is_exported(path):
        if "image_size" in arguments.own:
            raise PisamError("image_size: an exported model has one frame; export it again for another")
        if devices > 1:
            raise PisamError(f"devices: got {devices}, an exported model takes one; give a checkpoint")
        from pisam.onnx.engine import OnnxEngine

        return [OnnxEngine(path)]
    import torch

    from pisam.predictor import PiSamPredictor

    if devices > max(1, torch.cuda.device_count()):
        raise PisamError(f"devices: got {devices}, this machine has {torch.cuda.device_count()} GPUs")
    names = [f"cuda:{index}" for index in range(devices)] if torch.cuda.is_available() else [None]
    return [PiSamPredictor(load_torch(arguments, path, name)).engine for name in names]
