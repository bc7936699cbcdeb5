"""Stage 2: train the Precise Interactor on simulated clicks, everything else frozen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pisam.core.errors import PisamError
from pisam.core.types import Batch, ObjectFeatures, Prediction, Prompts
from pisam.modeling.pisam import PiSam
from pisam.training.losses import mask_loss
from pisam.training.stages.stage import Stage


class InteractorStage(Stage):
    """Learns to repair masks where they were clicked.

    The `ClickSimulation` callback fills `batch.objects`, `batch.straight_forward` and `batch.clicks`.

    Args:
        model: the network, with a trained decoder.
        lr: first learning rate.
        high_res: weight of the loss of the full-resolution logits.
        bce: weight of the binary cross-entropy.
        dice: weight of the Dice loss.
        near_clicks: share of the loss's points that is drawn around the clicks.
    """

    model: PiSam

    def __init__(
        self,
        model: PiSam,
        *,
        lr: float = 1e-3,
        high_res: float = 1.0,
        bce: float = 1.0,
        dice: float = 1.0,
        near_clicks: float = 0.0,
    ) -> None:
        super().__init__(model, part="interactor", lr=lr, bce=bce, dice=dice)
        self.high_res = high_res
        self.near_clicks = near_clicks

    def setup(self, stage: str) -> None:
        """Refuse a trainer that fills no clicks, before its first step.

        Raises:
            PisamError: no callback says `fills_clicks`.
        """
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        if not any(getattr(callback, "fills_clicks", False) for callback in callbacks):
            raise PisamError(
                "stage 2 learns from clicks: give the trainer the ClickSimulation callback, or one of "
                "your own that fills batch.objects and batch.clicks and says so by `fills_clicks = True`"
            )

    @torch.no_grad()
    def straight_forward(
        self, image: Tensor, box: Tensor, prompts: Prompts | None = None
    ) -> tuple[ObjectFeatures, Prediction]:
        """What the frozen decoder says before any click; arguments as in `PiSam.straight_forward`."""
        return self.model.straight_forward(image, box, prompts)

    @torch.no_grad()
    def before_clicks(self, objects: ObjectFeatures, image: Tensor) -> Prediction:
        """The straight-forward prediction of features that were kept; its low_res is NaN."""
        head = self.model.decoder.head
        high_res = head(objects.enhanced, self.model.normalise(image))
        unknown = objects.enhanced[:, :1].mul(torch.nan)
        return Prediction(unknown, high_res)

    def repaired(self, batch: Batch) -> Tensor:
        """Logits (B, 1, S, S) after the batch's clicks.

        Raises:
            ValueError: no click simulator has filled the batch.
        """
        if batch.objects is None or batch.clicks is None:
            raise ValueError(
                "batch.objects and batch.clicks are empty: the trainer needs the ClickSimulation callback"
            )
        return self.model.interact(batch.objects, batch.image, batch.clicks)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.repaired(batch)
        assert batch.clicks is not None
        terms = mask_loss(
            logits,
            batch.mask,
            batch.extent,
            batch.seeds,
            purpose="high_res",
            clicks=batch.clicks,
            near_clicks=self.near_clicks,
            ignored=batch.ignored,
        )
        clicked = batch.clicks.valid.any(dim=1).float()
        loss = self.high_res * (self.combine(terms) * clicked).sum() / clicked.sum().clamp(min=1)
        return {"loss": loss, "clicks": batch.clicks.valid.float().sum(dim=1).mean()}

    def counted(self, batch: Batch) -> Tensor:
        assert batch.clicks is not None
        return batch.clicks.valid.any(dim=1).float().sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Logits (B, 1, S, S) after clicks, scored by the callbacks beside `batch.straight_forward`."""
        return self.repaired(batch)
