"""The begin of a long command: what this machine can do, the plan in three lines, generated sets."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.core.files import refuse_blocked
from pisam.core.terminal import VERBOSE
from pisam.data.generated.sets import write_quickstart

COMPILERS = ("c++", "g++", "clang++")


def begin(config: Config, what: str, *, reads: list[Any], writes: Path) -> None:
    """Check the devices that a configuration asks for, and print the plan.

    Args:
        config: of the experiment; its `logging.mode` becomes what W&B's own variables allow.
        what: the verb and what it works on.
        reads: sets, as rows or names.
        writes: the folder of results.

    Raises:
        PisamError: an accelerator, precision or compiler that is not here, or too few devices; or a file
            stands where `writes` should.
    """
    refuse_devices(config)
    refuse_blocked(writes)
    opted_out = respect_wandbs_variables(config)
    if not os.environ.get(VERBOSE):
        os.environ.setdefault("WANDB_SILENT", "true")  # not for `wandb sweep`, whose words are read
    model, options = config.model, config.trainer
    names = [row if isinstance(row, str) else str(row.get("name")) for row in reads]
    sets = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    why = f" ({opted_out} in the environment)" if opted_out else ""
    device = f"{options.accelerator}, devices {options.devices}"
    _say(
        f"{what}: {model.decoder} on {model.backbone}, frames of {model.image_size} px, seed {config.seed}",
        f"  reads {sets or 'nothing'}; {options.precision} on {device}",
        f"  writes {writes}; W&B {config.logging.mode}{why}",
    )


def refuse_devices(config: Config) -> None:
    """Compare `trainer` with what is here; errors as `begin`."""
    import torch  # slow to load, and not needed by commands that only write the generated sets

    options = config.trainer
    accelerator, devices = options.accelerator, options.devices
    cuda = torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    if accelerator in ("gpu", "cuda", "mps") and not (cuda if accelerator == "cuda" else cuda or mps):
        raise PisamError(
            f"trainer.accelerator: {accelerator} is asked for, and torch finds none here; use cpu or auto"
        )
    on_cpu = accelerator == "cpu" or not (cuda or mps)
    if on_cpu and (isinstance(devices, list) or devices == -1):
        raise PisamError(f"trainer.devices: got {devices}; a CPU has no indices, give a number of processes")
    if on_cpu and options.precision == "16-mixed":
        raise PisamError("trainer.precision: 16-mixed needs a GPU; on a CPU there are bf16-mixed and 32-true")
    if not on_cpu and cuda:
        count = torch.cuda.device_count()
        highest = max(devices) + 1 if isinstance(devices, list) else devices
        if isinstance(highest, int) and highest > count:
            raise PisamError(f"trainer.devices: got {devices}, and there are {count} GPUs here")
        if options.precision == "bf16-mixed" and not torch.cuda.is_bf16_supported(including_emulation=False):
            name = torch.cuda.get_device_name()
            raise PisamError(f"trainer.precision: {name} has no bf16-mixed; use 16-mixed or 32-true")
    if options.compile and not any(map(shutil.which, (os.environ.get("CXX") or "", *COMPILERS))):
        raise PisamError(
            f"trainer.compile: no C++ compiler is here ({', '.join(COMPILERS)} or $CXX); install one, "
            "or leave it false"
        )


def respect_wandbs_variables(config: Config) -> str:
    """Turn `logging.mode` down to W&B's own opt-out variables; returns the one that did."""
    disabled = os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on")
    wanted = "disabled" if disabled else os.environ.get("WANDB_MODE", "").lower()
    order = ("disabled", "offline", "online")
    if wanted not in order or order.index(wanted) >= order.index(config.logging.mode):
        return ""
    config.logging.mode = wanted
    return "WANDB_DISABLED" if disabled else f"WANDB_MODE={wanted}"


def _say(*lines: str) -> None:
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    rank_zero_only(print)(*lines, sep="\n", flush=True)


def generate_data(config: Config) -> None:
    """Write the generated sets below `data.root` where they are missing and `data.generate` asks for them."""
    if config.data.generate and config.data.root:
        size = config.model.image_size
        if size < 256:
            raise PisamError(f"model.image_size: data.generate needs at least 256, got {size}")
        write_quickstart(Path(config.data.root), image_size=size)
