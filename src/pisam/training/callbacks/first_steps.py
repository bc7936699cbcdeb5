"""The first steps of a training: whether one fits into memory, and lines so that a start is never silent."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from pisam.core.errors import PisamError
from pisam.core.types import Batch, Clicks
from pisam.training.logging.throughput import GIB, peak_memory

log = logging.getLogger(__name__)


class MemoryCheck(Callback):
    """Runs forward and backward over one worst batch: full size, every sample with all of its clicks.

    Nothing remains of it: gradients go to no parameter, random states are put back. Told are the peak of
    everything and, unless the network is compiled, the activations, which the forward pass keeps for the
    backward pass. The optimiser's state, two numbers per trained parameter, comes on top.

    Args:
        batch_size: samples per rank.
        image_size: side S of the frame.
        clicks: M of stage 2, 0 in stage 1.
        on_gpu: do it where the model is on a GPU.
        on_cpu: do it where there is none; it costs about a step.
    """

    def __init__(
        self, *, batch_size: int, image_size: int, clicks: int = 0, on_gpu: bool = True, on_cpu: bool = False
    ) -> None:
        self.batch_size, self.image_size, self.clicks = batch_size, image_size, clicks
        self.wanted = {True: on_gpu, False: on_cpu}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the memory that a step takes; raises PisamError: it does not fit."""
        device = pl_module.device
        on_gpu = device.type == "cuda"
        if not self.wanted[on_gpu]:
            return
        what = f"a batch of {self.batch_size} at {self.image_size} px"
        _log(trainer, f"memory: forward and backward of {what} ...")
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        try:
            with torch.random.fork_rng(devices=[device] if on_gpu else []):
                activations = self._step(trainer, pl_module)
        except torch.cuda.OutOfMemoryError as error:
            raise PisamError(
                f"data.batch_size: {what} does not fit into the memory of {device}; lower data.batch_size "
                "and raise the stage's accumulate, or set trainer.precision=bf16-mixed"
            ) from error
        peak = peak_memory(device) / GIB
        if on_gpu:
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(device).total_memory / GIB
            used = f"{what} takes {peak:.1f} of {total:.1f} GiB on the GPU"
        else:
            used = f"with {what} the process has taken {peak:.1f} GiB at most"
        kept = "" if activations is None else f"; activations: {activations / GIB:.2f} GiB"
        _log(trainer, f"memory: {used}{kept}")

    def _step(self, trainer: Trainer, stage: Any) -> int | None:
        """Forward and backward; the bytes of what was kept in between, None for a compiled network."""
        kept = Activations(stage)
        # Code compiled under hooks might be compiled once more for training, which has none.
        compiled = any(module._compiled_call_impl is not None for module in stage.modules())
        hooks = nullcontext() if compiled else saved_tensors_hooks(kept.add, kept.give)
        batch = worst_batch(self.batch_size, self.image_size, self.clicks, stage.device)
        with trainer.precision_plugin.train_step_context(), hooks:
            if self.clicks:
                batch.objects, batch.straight_forward = stage.straight_forward(batch.image, batch.box)
            loss = stage.losses(batch)["loss"]
        # Not `backward`: it would add to the parameters' gradients and wake DDP's reducer.
        torch.autograd.grad(loss, [p for p in stage.parameters() if p.requires_grad], allow_unused=True)
        return None if compiled else kept.bytes


class Activations:
    """Counts what autograd keeps, each piece of memory once; weights, which are there anyway, not at all."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._seen = {_place(value) for value in (*module.parameters(), *module.buffers())}
        self.bytes = 0

    def add(self, tensor: Tensor) -> Tensor:
        # What is kept stays where it is until the backward pass, so no other can take its place.
        if (place := _place(tensor)) not in self._seen:
            self._seen.add(place)
            self.bytes += tensor.untyped_storage().nbytes()
        return tensor

    @staticmethod
    def give(tensor: Tensor) -> Tensor:
        return tensor


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def worst_batch(count: int, size: int, clicks: int, device: torch.device | str) -> Batch:
    """Grey images whose object fills the middle, each with `clicks` clicks on one pixel."""
    mask = torch.zeros(count, 1, size, size, dtype=torch.bool, device=device)
    low, high = size // 4, 3 * size // 4
    mask[..., low:high, low:high] = True
    return Batch(
        image=torch.full((count, 3, size, size), 128, dtype=torch.uint8, device=device),
        mask=mask,
        box=torch.tensor([[low, low, high, high]], device=device).float().repeat(count, 1),
        extent=torch.full((count, 2), float(size), device=device),
        ids=[str(index) for index in range(count)],
        sets=["worst"] * count,
        seeds=list(range(count)),
        views=[0] * count,
        clicks=Clicks(
            points=torch.full((count, clicks, 2), size / 2, device=device),
            labels=torch.ones(count, clicks, dtype=torch.int64, device=device),
            valid=torch.ones(count, clicks, dtype=torch.bool, device=device),
        ),
    )


def _log(trainer: Trainer, text: str) -> None:
    if trainer.is_global_zero:
        log.info(text)


class FirstSteps(Callback):
    """Three lines at the start of training; then it is silent."""

    def __init__(self) -> None:
        self._since = 0.0
        self._logged = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.monotonic()
        self._log(trainer, 0, f"first batch: waiting for {trainer.world_size} x loader ...")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        self._log(trainer, 1, f"first batch: {len(batch)} images after {self._seconds()}; first step ...")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._log(trainer, 2, f"first step: done {self._seconds()} after the start of training")

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._since:.1f} s"

    def _log(self, trainer: Trainer, line: int, text: str) -> None:
        if self._logged == line:
            self._logged += 1
            if trainer.is_global_zero:
                log.info(text)
