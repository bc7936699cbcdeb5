"""The paper's optimiser and schedule, the same for both stages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def adam_with_cosine(parameters: Iterable[nn.Parameter], *, lr: float, steps: int) -> dict[str, Any]:
    """Adam without weight decay, and a learning rate that falls to zero over `steps` as a cosine.

    Args:
        parameters: those with `requires_grad` are optimised.
        lr: first learning rate.
        steps: optimiser steps of the whole run.

    Returns:
        what Lightning's `configure_optimizers` expects.
    """
    optimizer = torch.optim.Adam([p for p in parameters if p.requires_grad], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
