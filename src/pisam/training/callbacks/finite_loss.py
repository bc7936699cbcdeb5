"""Steps whose loss is not finite are taken by no rank, counted, and after a few in a row end the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer

from pisam.core.types import Batch
from pisam.training.resume.ranks import fail_together, from_every_rank
from pisam.training.stages.exchange import Exchanging, Number, log_numbers

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
        self.most_in_a_row = most_in_a_row
        self.most_overflows = most_overflows
        self.skipped = 0
        self.in_a_row = 0
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
