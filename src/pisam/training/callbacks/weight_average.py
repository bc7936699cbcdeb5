"""An exponential moving average of the trained weights, which is what is validated and kept."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage(Callback):
    """After each optimiser step: average = decay * average + (1 - decay) * weights, from the first step on.

    Validation sees the averages, and checkpoints hold them as the model's weights; what training goes on with
    is in this callback's state. Lightning's `EMAWeightAveraging` copies the whole module, frozen SAM
    included, into every checkpoint, and the stage would write its own weights over the averages.
    """

    def __init__(self, decay: float) -> None:
        self._average = get_ema_multi_avg_fn(decay)
        self._steps = 0
        self._trained: dict[str, Tensor] = {}  # of a checkpoint, until they are where they belong
        self._module: Any = None

    def state_dict(self) -> dict[str, Any]:
        """The weights as the optimiser left them."""
        trained = {name: value.detach().clone() for name, value in _trained_parameters(self._module).items()}
        return {"steps": self._steps, "trained": trained}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._steps, self._trained = state_dict["steps"], state_dict["trained"]

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Fresh weights are their own average; a restored module holds averages and gets its weights back."""
        self._module = pl_module
        parameters = _trained_parameters(pl_module)
        pl_module.averaged = {name: value.detach().clone() for name, value in parameters.items()}
        trained, self._trained = self._trained, {}
        with torch.no_grad():
            for name, value in trained.items():
                parameters[name].copy_(value)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self._steps:  # gradients are being accumulated
            return
        first, self._steps = self._steps == 0, trainer.global_step
        parameters = _trained_parameters(pl_module)
        averages: dict[str, Tensor] = pl_module.averaged  # type: ignore[assignment]
        with torch.no_grad():
            if first:
                for name, value in parameters.items():
                    averages[name].copy_(value)
            else:
                self._average(list(averages.values()), [parameters[name] for name in averages], self._steps)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._exchange(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._exchange(pl_module)

    @torch.no_grad()
    def _exchange(self, module: Any) -> None:
        """Averages into the model and its weights into their place, or back."""
        for name, parameter in _trained_parameters(module).items():
            average = module.averaged[name]
            weights = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(weights)


def _trained_parameters(module: Any) -> dict[str, Tensor]:
    return {name: value for name, value in module.model.named_parameters() if value.requires_grad}
