"""The size of the gradients, in all and of each trained part."""

from __future__ import annotations

from collections import defaultdict

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer


class GradientNorm(Callback):
    """Logs the Euclidean norm before each step: `train/grad_norm`, and `grad_norm/PART` of its parts.

    A part is a direct child of what the stage trains, such as `head`. Where a step is skipped, all are 0.
    """

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        parts: dict[str, list[Tensor]] = defaultdict(list)
        for name, parameter in pl_module.named_parameters():
            if parameter.requires_grad:
                gradient = parameter.new_zeros(1) if parameter.grad is None else parameter.grad.detach()
                parts[name.split(".")[2]].append(gradient)  # model.decoder.head...
        norms = {part: torch.stack(torch._foreach_norm(tensors)).norm() for part, tensors in parts.items()}
        pl_module.log("train/grad_norm", torch.stack(list(norms.values())).norm())
        pl_module.log_dict({f"grad_norm/{part}": norm for part, norm in norms.items()})
