"""Simulated clicks for stage 2, on the errors of the straight-forward prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from pisam.clicks.simulate import simulate_clicks
from pisam.core.seeding import derive_seed
from pisam.core.types import Batch, Clicks
from pisam.training.callbacks.frozen_features import Compute, FrozenFeatures
from pisam.training.callbacks.stored_features import StoredFeatures


class ClickSimulation(Callback):
    """Fills `batch.objects`, `batch.straight_forward` and `batch.clicks` before each step.

    The straight-forward prediction is computed once, for the clicks and for the step alike. In training each
    sample gets 1 to `max_clicks` clicks, drawn per sample; in validation `max_clicks`.

    Args:
        max_clicks: M.
        features: keeps what the frozen network says of a view for the epochs where it returns.
        simulation: further arguments of `simulate_clicks`.
    """

    fills_clicks = True

    def __init__(
        self,
        *,
        max_clicks: int = 10,
        features: FrozenFeatures | StoredFeatures | None = None,
        **simulation: Any,
    ) -> None:
        self.max_clicks = max_clicks
        self.simulation = simulation
        self.frozen_features = features

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        clicks = self._fill(trainer, pl_module, batch, part="train")
        rng = [np.random.default_rng(derive_seed(seed, "number of clicks")) for seed in batch.seeds]
        number = torch.tensor([r.integers(1, self.max_clicks, endpoint=True) for r in rng])
        shown = torch.arange(self.max_clicks) < number[:, None]
        clicks.valid &= shown.to(clicks.valid.device)
        batch.clicks = clicks

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        batch.clicks = self._fill(trainer, pl_module, batch, part="val")

    def _fill(self, trainer: Trainer, pl_module: Any, batch: Batch, part: str) -> Clicks:
        compute: Compute = pl_module.straight_forward
        with trainer.precision_plugin.forward_context():
            if self.frozen_features is None:
                batch.objects, batch.straight_forward = compute(batch.image, batch.box, batch.prompts)
            else:
                batch.objects, batch.straight_forward = self.frozen_features(batch, part, compute)
                if part == "val" and isinstance(self.frozen_features, StoredFeatures):
                    # Clicks need the signs alone, scores the logits.
                    batch.straight_forward = pl_module.before_clicks(batch.objects, batch.image)
        predicted = (batch.straight_forward.high_res > 0) & batch.counted()
        seeds = [derive_seed(seed, "clicks") for seed in batch.seeds]
        return simulate_clicks(
            predicted, batch.mask, seeds=seeds, max_clicks=self.max_clicks, **self.simulation
        )
