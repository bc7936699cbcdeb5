"""Guards against losses that are not finite, weights that do not train, ranks that wait for a dead one."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch import Tensor
from torch.optim import Optimizer

from pisam.core.errors import PisamError
from pisam.core.processes import explanation
from pisam.core.types import Batch
from pisam.training.resume.ranks import fail_together, from_every_rank
from pisam.training.stages.stage import Exchanging, Number, log_numbers

log = logging.getLogger(__name__)

MOST_IN_A_ROW = 5
MOST_OVERFLOWS = 16  # in a row: halved so often, torch's first scale of 65536 is 1


class FiniteLoss(Callback, Exchanging):
    """Leaves out steps that NaN or infinity would spoil; logs their number as `train/skipped_steps`.

    The ranks decide together, on each optimiser step: one bad loss anywhere, and all keep weights and
    optimiser state as they are. The step counts and the schedule goes on, so order and length of the run do
    not change. A loss scaler (16-mixed) overflows in its ordinary course and leaves such steps out itself:
    they are counted, and only many in a row are an error.

    Args:
        most_in_a_row: so many such steps without a good one between them end the run.
        most_overflows: the same for steps that a loss scaler leaves out.
    """

    def __init__(self, most_in_a_row: int = MOST_IN_A_ROW, most_overflows: int = MOST_OVERFLOWS) -> None:
        self.most_in_a_row, self.most_overflows = most_in_a_row, most_overflows
        self.skipped = self.in_a_row = 0
        self._losses: list[tuple[Tensor, list[str]]] = []
        self._samples: list[str] = []
        self._bad_loss = False

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        self._samples = [f"{name}/{id_}" for name, id_ in zip(batch.sets, batch.ids, strict=True)]

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        self._losses.append((loss.detach().isfinite(), self._samples))

    def offer(self) -> dict[str, Number]:
        return {"finite losses": torch.stack([finite for finite, _ in self._losses]).all()}

    def hear(self, numbers: Mapping[str, Sequence[float]]) -> None:
        self._bad_loss = not all(numbers["finite losses"])

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Optimizer) -> None:
        losses, self._losses = self._losses, []
        if not self._bad_loss and pl_module.gradients_are_finite:
            self.in_a_row = 0
            return
        self.skipped += 1
        self.in_a_row += 1
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if scaled and not self._bad_loss:
            if self.in_a_row >= self.most_overflows:
                fail_together(
                    trainer,
                    f"step {trainer.global_step}: the gradients of {self.in_a_row} steps in a row are not "
                    "finite in 16-bit numbers, at any scale. None of them changed the weights. Choose "
                    "trainer.precision=bf16-mixed or 32-true, or lower the learning rate",
                )
            return
        optimizer.zero_grad(set_to_none=True)  # a zero would still move the weights, by Adam's momentum
        culprits = [name for finite, samples in losses if not finite for name in samples]
        named = "; ".join(
            f"rank {rank}: {', '.join(names)}"
            for rank, names in enumerate(from_every_rank(trainer, culprits))
            if names
        )
        what = f"loss is not finite ({named})" if named else "gradients are not finite"
        if self.in_a_row >= self.most_in_a_row:
            fail_together(
                trainer,
                f"step {trainer.global_step}: the {what}, and so it was in {self.in_a_row} steps in a row. "
                "None of them changed the weights or was saved. Look at these samples, lower the learning "
                "rate or choose another trainer.precision; the same command continues from last.ckpt",
            )
        if trainer.is_global_zero:
            log.warning(
                "step %d: the %s; no rank took this step (%d left out so far)",
                trainer.global_step,
                what,
                self.skipped,
            )

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        log_numbers(pl_module, {"train/skipped_steps": float(self.skipped)})

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if 0 < trainer.global_step <= self.skipped:
            fail_together(
                trainer,
                f"all {self.skipped} steps had gradients that are not finite, so nothing was trained; choose "
                "another trainer.precision, or lower the learning rate",
            )


STEPS_UNTIL_CHANGED = 3
# Softmax does not see what is added to every key alike, so these biases have no gradient but rounding.
NEVER_CHANGED = ("k_proj.bias",)


class TrainabilityGuard(Callback):
    """Stops a run whose frozen parameters have gradients, or whose trained ones have none or stand still."""

    def __init__(self) -> None:
        self._start: dict[str, Tensor] = {}
        self._frozen_hash = ""
        self._checked_gradients = False
        self._steps = 0

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._frozen_hash = pl_module.model.frozen_hash()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == 0:  # near the end of a resumed run the learning rate moves nothing any more
            self._start = {n: p.detach().clone() for n, p in pl_module.named_parameters() if p.requires_grad}

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After the first backward pass `grad is None` exactly for frozen parameters."""
        if self._checked_gradients:
            return
        self._checked_gradients = True
        for name, parameter in pl_module.named_parameters():
            gradient = parameter.grad
            if parameter.requires_grad != (gradient is not None):
                state = "trained but has no" if parameter.requires_grad else "frozen but has a"
                raise PisamError(f"parameter {name} is {state} gradient after the first backward pass")

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """After three steps that had a gradient, every trained tensor has moved."""
        if not self._start:
            return
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if not gradients:
            return
        # A loss scaler leaves out the steps whose gradients overflowed. Both are asked in one wait.
        finite = torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
        some = torch.stack([gradient.any() for gradient in gradients]).any()
        self._steps += all(torch.stack([finite, some]).tolist())
        if self._steps < STEPS_UNTIL_CHANGED:
            return
        start, self._start = self._start, {}
        still = [n for n, p in pl_module.named_parameters() if n in start and p.equal(start[n])]
        stuck = [name for name in still if not name.endswith(NEVER_CHANGED)]
        if stuck:
            raise PisamError(
                f"{len(stuck)} trained parameters did not change in three steps: {', '.join(stuck[:4])}"
            )

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        if pl_module.model.frozen_hash(fresh=True) != self._frozen_hash:
            raise PisamError("frozen SAM changed during training: its hash differs from the one at the start")


SECONDS_TO_CLOSE_LOGS = 15.0


class FirstError(Callback):
    """Keeps several ranks from waiting for one that failed.

    A rank that fails tells its error and ends at once, for its clean-up could wait for the others for ever;
    nothing is saved, as not all ranks stand at the same step. Rank 0 first ends the processes it started and
    may take a few seconds to close its logs. Processes that it did not start are ended by what did (`srun
    --kill-on-bad-exit`, `torchrun`), else by the timeout of the next exchange.
    """

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.world_size == 1 or not isinstance(exception, Exception | KeyboardInterrupt):
            return  # agreed ends
        if isinstance(exception, Exception):
            if not trainer.is_global_zero:
                tell_and_end(trainer.global_rank, exception)
            timer = threading.Timer(SECONDS_TO_CLOSE_LOGS, tell_and_end, (0, exception))
            timer.daemon = True
            timer.start()
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            launcher.kill(signal.SIGKILL)
            launcher.procs.clear()  # Lightning's observer of this list would kill rank 0 in turn


def tell_and_end(rank: int, exception: Exception) -> None:
    """Write the error to stderr and end this process without any clean-up, exit code 2 or 1."""
    exception = explanation(exception) or exception
    if isinstance(exception, PisamError):
        text = f"error: {exception}\n"
    else:
        text = "".join(traceback.format_exception(type(exception), exception, exception.__traceback__))
    sys.stderr.write(f"[rank {rank}] {text}")
    sys.stderr.flush()
    os._exit(2 if isinstance(exception, PisamError) else 1)
