"""What is checked before the first step: said before it is begun, and refused in one line."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from pisam.core.errors import PisamError
from pisam.core.lock import Lock, holding, read_lock

log = logging.getLogger(__name__)


@contextmanager
def alone_in(folder: Path) -> Iterator[Lock | None]:
    """Hold the lock of a folder on rank 0; the other ranks belong to it, and get None.

    Raises:
        PisamError: another process writes there.
    """
    if own_rank():
        yield None
    else:
        with holding(folder) as lock:
            yield lock


@contextmanager
def checking(what: str) -> Iterator[list[str]]:
    """Say `what ...`, and at the end how long it took and what the block put into the list."""
    say = rank_zero_only(log.info)
    say("%s ...", what)
    begun = time.monotonic()
    found: list[str] = []
    yield found
    say("%s: %s", what, ", ".join([*found, f"{time.monotonic() - begun:.1f} s"]))


def check_machine(*, accelerator: str, devices: Any, precision: str, compiled: bool = False) -> None:
    """Refuse what this machine does not have, before anything is read.

    Args:
        accelerator: auto, cpu, gpu, cuda or mps.
        devices: auto, a number (-1 = all), or a list of indices.
        precision: 32-true, bf16-mixed or 16-mixed.
        compiled: the network is to be compiled.

    Raises:
        PisamError: names the key, what there is and what to set.
    """
    gpus, mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    if (accelerator == "cuda" and not gpus) or (accelerator == "gpu" and not (gpus or mps)):
        raise PisamError(
            f"trainer.accelerator: got {accelerator}, but torch {torch.__version__} finds no GPU here; set "
            "trainer.accelerator=cpu or auto, or install the torch build and driver of the GPU"
        )
    if accelerator == "mps" and not mps:
        raise PisamError(
            "trainer.accelerator: got mps, but this is no Apple GPU; set trainer.accelerator=auto"
        )
    on_gpu = gpus > 0 and accelerator in ("auto", "gpu", "cuda")
    if on_gpu:
        wanted = devices if isinstance(devices, list) else range(devices if isinstance(devices, int) else 1)
        if missing := [index for index in wanted if index >= gpus]:
            raise PisamError(
                f"trainer.devices: got {devices}, but there is no GPU {missing[0]}, only 0 to {gpus - 1}"
            )
        if precision == "bf16-mixed" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise PisamError(
                f"trainer.precision: {torch.cuda.get_device_name()} cannot compute in bfloat16; set "
                "trainer.precision=16-mixed or 32-true"
            )
    elif not mps or accelerator == "cpu":
        if isinstance(devices, list) or devices == -1:
            raise PisamError(
                f"trainer.devices: got {devices}, which names GPUs, but this trains on the CPU; give a "
                "number of processes, for example trainer.devices=1"
            )
        if precision == "16-mixed":
            raise PisamError("trainer.precision: 16-mixed needs a GPU; on the CPU set bf16-mixed or 32-true")
    if compiled:
        _check_compiler(on_gpu)


def _check_compiler(on_gpu: bool) -> None:
    compiler = os.environ.get("CXX") or "g++"
    if not any(shutil.which(name) for name in (compiler, "clang++", "c++")):
        raise PisamError(
            f"trainer.compile: found no C++ compiler ({compiler}); install one, or set trainer.compile=false"
        )
    if on_gpu:
        try:
            import triton  # noqa: F401
        except ImportError as error:
            raise PisamError(
                "trainer.compile: needs triton on a GPU: pip install triton, or trainer.compile=false"
            ) from error


def own_rank() -> int:
    """The rank of this process, before it speaks to the others, from what started it."""
    return int(getattr(rank_zero_only, "rank", 0))


def job() -> str:
    """Name of the job whose processes SLURM or torchrun starts at the same time; "" for other starts."""
    for names in (
        ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT"),
        ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    ):
        if os.environ.get(names[0]):
            return ".".join(os.environ.get(name, "") for name in names)
    return ""


def wait_for_rank_0(folder: Path, *, minutes: float) -> None:
    """Wait on the other ranks until rank 0 has checked the data, as long as it gives signs of life.

    Rank 0 alone audits files, which may take longer than `trainer.timeout`, after which the others would give
    up in the first exchange. It announces in the run's lock, which all nodes see, that it is `ready`.

    Args:
        folder: what rank 0 holds the lock of.
        minutes: without any sign of rank 0, until this is given up.

    Raises:
        PisamError: no sign for so long.
    """
    own = job()
    if own_rank() == 0 or not own:
        return
    last: tuple[Any, float] | None = None
    end = 0.0
    while True:
        announced, signed = read_lock(folder)
        if announced.get("job") == own and announced.get("ready"):
            return
        if (sign := (announced, signed)) != last:
            last, end = sign, time.monotonic() + 60 * minutes
        if time.monotonic() > end:
            raise PisamError(
                f"{folder}: no sign of life of rank 0 in {minutes:g} minutes (trainer.timeout); see what it "
                "says, and whether all nodes share this folder"
            )
        time.sleep(0.5)
