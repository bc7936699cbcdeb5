"""Simulated clicks for stage 2, on the errors of the straight-forward prediction."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer

from pisam.clicks.simulate import simulate_clicks
from pisam.core.checks import check_number
from pisam.core.seeding import derive_seed
from pisam.core.types import Batch, Clicks, Prediction
from pisam.training.features.frozen_features import Compute, FrozenFeatures, StoredFeatures
from pisam.training.stages.interactor_stage import FrozenAnswer
from pisam.training.stages.regions import alter_targets


class ClickSimulation(Callback):
    """Fills `batch.objects`, `batch.straight_forward` and `batch.clicks` before each step.

    The prediction before the interactor is computed once, for the clicks and for the step alike. In training
    each sample gets 1 to `max_clicks` clicks, drawn per sample; in validation `max_clicks`. Those that SAM
    was prompted with are among them.

    Args:
        max_clicks: M.
        features: keeps the frozen network's answer on a view for the epochs where it returns.
        altered: share of the training samples whose target is altered, see `alter_targets`.
        simulation: further arguments of `simulate_clicks`.

    Raises:
        ValueError: a number out of its range.
    """

    fills_clicks = True

    def __init__(
        self,
        *,
        max_clicks: int = 10,
        features: FrozenFeatures | StoredFeatures | None = None,
        altered: float = 0.0,
        **simulation: Any,
    ) -> None:
        check_number("max_clicks", max_clicks, 1, whole=True)
        check_number("altered", altered, 0, 1)
        self.max_clicks, self.altered, self.simulation = max_clicks, altered, simulation
        self.frozen_features = features

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Batch, *_: Any) -> None:
        answer = self._frozen(trainer, pl_module, batch, "train", pl_module.answer)
        batch.objects, batch.straight_forward = answer.objects, answer.prediction
        predicted = (answer.prediction.high_res > 0) & batch.counted()
        clicks = [answer.clicks]
        if self.altered:
            batch.mask, region = alter_targets(batch, predicted, answer.clicks, self.altered)
            clicks.append(self._simulate(predicted, batch, "region", max_clicks=1, region=region))
        new = self._simulate(predicted, batch, "clicks", max_clicks=self.max_clicks)
        rng = [np.random.default_rng(derive_seed(seed, "number of clicks")) for seed in batch.seeds]
        given = torch.cat([each.valid for each in clicks], dim=1)
        prompted = given.any(dim=1).tolist() if given.shape[1] else [False] * len(batch)
        least = [0 if some else 1 for some in prompted]
        most = self.max_clicks
        number = [r.integers(first, most, endpoint=True) for r, first in zip(rng, least, strict=True)]
        shown = torch.arange(self.max_clicks) < torch.tensor(number)[:, None]
        new.valid &= shown.to(new.valid.device, non_blocking=True)
        batch.clicks = Clicks.beside([*clicks, new])

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Any, batch: Batch, *_: Any) -> None:
        answer = self._frozen(trainer, pl_module, batch, "val", partial(self._clicked, pl_module))
        batch.objects, batch.straight_forward = answer.objects, answer.prediction
        batch.clicks = answer.clicks

    def _clicked(self, stage: Any, batch: Batch) -> FrozenAnswer:
        """The prediction for the boxes, clicks on it, and the object's features once SAM knows them."""
        model = stage.model
        if not model.reprompt:
            objects, prediction = stage.straight_forward(batch.image, batch.box, batch.prompts)
            return FrozenAnswer(objects, prediction, self._clicks_on(prediction, batch))
        encoded = model.encode(batch.image)
        objects, prediction = model.decode(*encoded, batch.image, batch.box, batch.prompts)
        clicks = self._clicks_on(prediction, batch)
        objects, _ = model.ask_again(encoded, batch.box, clicks, objects, prediction.low_res)
        return FrozenAnswer(objects, prediction, clicks)

    def _clicks_on(self, prediction: Prediction, batch: Batch) -> Clicks:
        predicted = (prediction.high_res > 0) & batch.counted()
        return self._simulate(predicted, batch, "clicks", max_clicks=self.max_clicks)

    def _frozen(
        self, trainer: Trainer, stage: Any, batch: Batch, part: str, compute: Compute
    ) -> FrozenAnswer:
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            if self.frozen_features is None:
                return compute(batch)
            if not isinstance(self.frozen_features, StoredFeatures):
                return self.frozen_features(batch, part, compute)
            objects, prediction = self.frozen_features(batch, part, stage.straight_forward)
            if part == "train":
                return FrozenAnswer(objects, prediction, Clicks.none(len(batch), batch.box.device))
            # Clicks need the signs alone, scores the logits.
            prediction = stage.before_clicks(objects, batch.image)
            return FrozenAnswer(objects, prediction, self._clicks_on(prediction, batch))

    def _simulate(self, predicted: torch.Tensor, batch: Batch, purpose: str, **arguments: Any) -> Clicks:
        seeds = [derive_seed(seed, purpose) for seed in batch.seeds]
        return simulate_clicks(predicted, batch.mask, seeds=seeds, **{**self.simulation, **arguments})
