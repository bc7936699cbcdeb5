"""Steps whose loss is not finite are taken by no rank, counted, and after a few in a row end the run."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from pisam.core.types import Batch
from pisam.training.resume.ranks import any_rank, fail_together, from_every_rank

log = logging.getLogger(__name__)

MOST_IN_A_ROW = 5


class FiniteLoss(Callback):
    """Leaves out steps that NaN or infinity would spoil; logs their number as `train/skipped_steps`.

    The ranks decide together, on each optimiser step: one bad loss anywhere, and all keep weights and
    optimiser state as they are. The step counts and the schedule goes on, so order and length of the run do
    not change. A loss scaler (16-mixed) overflows in its ordinary course and leaves such steps out itself:
    there only the loss is looked at, not the gradients.

    Args:
        most_in_a_row: so many such steps without a good one between them end the run.
    """

    def __init__(self, most_in_a_row: int = MOST_IN_A_ROW) -> None:
        self.most_in_a_row = most_in_a_row
        self.skipped = 0
        self.in_a_row = 0
        self._samples: list[str] = []
        self._losses: list[tuple[Tensor, list[str]]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self._samples = [f"{name}/{id_}" for name, id_ in zip(batch.sets, batch.ids, strict=True)]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._losses.append((loss.detach().isfinite().all(), self._samples))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        losses, self._losses = self._losses, []
        culprits = [name for finite, samples in losses if not finite for name in samples]
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        bad = bool(culprits) or not (scaled or _gradients_are_finite(pl_module))
        if not any_rank(trainer, bad):
            self.in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)  # a zero would still move the weights, by Adam's momentum
        self.skipped += 1
        self.in_a_row += 1
        told = "; ".join(
            f"rank {rank}: {', '.join(names)}"
            for rank, names in enumerate(from_every_rank(trainer, culprits))
            if names
        )
        what = f"loss is not finite ({told})" if told else "gradients are not finite"
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

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        pl_module.log("train/skipped_steps", float(self.skipped), batch_size=len(batch))


def _gradients_are_finite(module: LightningModule) -> bool:
    checks = [p.grad.isfinite().all() for p in module.parameters() if p.grad is not None]
    return not checks or bool(torch.stack(checks).all())
