"""A guard against a training that trains the wrong thing, or nothing."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from pisam.core.errors import PisamError

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
