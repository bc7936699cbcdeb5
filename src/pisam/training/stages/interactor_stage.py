"""Stage 2: train the Precise Interactor on simulated clicks, everything else frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pisam.core.checks import check_number
from pisam.core.errors import PisamError
from pisam.core.seeding import derive_seed
from pisam.core.types import AGAIN, Batch, Clicks, ObjectFeatures, Prediction, Prompts
from pisam.modeling.pisam import PiSam
from pisam.training.loss_points import NUM_POINTS, SPREAD
from pisam.training.losses import loss_at_clicks, mask_loss
from pisam.training.stages.rounds import prompts_after_rounds
from pisam.training.stages.stage import Stage
from pisam.training.stages.windows import STEP, cut, window_around


@dataclass(frozen=True)
class FrozenAnswer:
    """The state that an interactor starts from."""

    objects: ObjectFeatures
    prediction: Prediction  # the mask before the interactor
    clicks: Clicks  # made so far


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
        near_spreads: how far around, see `sample_near`.
        at_clicks: weight of the binary cross-entropy at the clicked pixels themselves.
        rounds: train also on answers of a decoder that was asked again, as in `DecoderStage`.
        window: side of the part of the frame, around a click, on which the logits are trained, as a share.
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
        near_spreads: Sequence[float] = (SPREAD,),
        at_clicks: float = 0.0,
        rounds: int = 0,
        window: float = 1.0,
    ) -> None:
        super().__init__(model, part="interactor", lr=lr, bce=bce, dice=dice)
        for name, weight in (("high_res", high_res), ("at_clicks", at_clicks)):
            check_number(name, weight, 0)
        for name, share in (("near_clicks", near_clicks), ("window", window)):
            check_number(name, share, 0, 1)
        check_number("rounds", rounds, 0, whole=True)
        self.high_res = high_res
        self.near_clicks = near_clicks
        self.near_spreads = near_spreads
        self.at_clicks = at_clicks
        self.rounds = rounds
        self.window = window

    def setup(self, stage: str) -> None:
        """Refuse a trainer that fills no clicks, before its first step.

        Raises:
            PisamError: no callback says `fills_clicks`; or as in `Stage`.
        """
        super().setup(stage)
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
        """The frozen decoder's answer before any click; arguments as in `PiSam.straight_forward`."""
        return self.model.straight_forward(image, box, prompts)

    @torch.no_grad()
    def before_clicks(self, objects: ObjectFeatures, image: Tensor) -> Prediction:
        """The straight-forward prediction of features that were kept; its low_res is NaN."""
        head = self.model.decoder.head
        high_res = head(objects.enhanced, self.model.normalise(image))
        unknown = objects.enhanced[:, :1].mul(torch.nan)
        return Prediction(unknown, high_res)

    @torch.no_grad()
    def answer(self, batch: Batch) -> FrozenAnswer:
        """The frozen decoder's answers on training samples, for some of them after rounds of clicks."""
        clicks = Clicks.none(len(batch), batch.box.device)
        if not self.rounds:
            return FrozenAnswer(*self.straight_forward(batch.image, batch.box, batch.prompts), clicks)
        encoded = self.model.encode(batch.image)
        prompts = prompts_after_rounds(self.model, batch, encoded, self.rounds)
        asked = torch.tensor([kind == AGAIN for kind in prompts.kinds], device=batch.box.device)
        clicks = replace(prompts.points, valid=prompts.points.valid & asked[:, None])
        return FrozenAnswer(*self.model.decode(*encoded, batch.image, batch.box, prompts), clicks)

    def repaired(self, batch: Batch) -> Tensor:
        """Logits (B, 1, S, S) after the batch's clicks.

        Raises:
            ValueError: no click simulator has filled the batch.
        """
        objects, clicks = _filled(batch)
        return self.model.interact(objects, batch.image, clicks)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        objects, clicks = _filled(batch)
        size = self.model.image_size
        side = max(1, round(self.window * size / STEP)) * STEP
        enhanced, base = self.model.repair(objects, clicks)
        image, mask, extent, ignored = batch.image, batch.mask, batch.extent, batch.ignored
        inside = clicks.valid
        if side < size:
            corners = _corners(batch, clicks, side)
            enhanced, image, mask = (cut(each, corners, side, size) for each in (enhanced, image, mask))
            base, ignored = (
                None if each is None else cut(each, corners, side, size) for each in (base, ignored)
            )
            extent = (extent - corners).clamp(max=side)
            clicks = replace(clicks, points=clicks.points - corners[:, None])
            inside = clicks.valid & ((clicks.points >= 0) & (clicks.points < side)).all(dim=2)
        colours = self.model.colours(image)
        logits = self.model.decoder.head.finish(enhanced, colours, base)
        interactor = self.model.interactor
        logits = interactor.touched(logits, interactor.seen(colours, clicks, size))
        terms = mask_loss(
            logits,
            mask,
            extent,
            batch.seeds,
            purpose="high_res",
            num_points=round(NUM_POINTS * (side / size) ** 2),
            clicks=replace(clicks, valid=inside),
            near_clicks=self.near_clicks,
            ignored=ignored,
            spreads=[spread * size / side for spread in self.near_spreads],
        )
        losses = self.combine(terms)
        if self.at_clicks:
            losses = losses + self.at_clicks * loss_at_clicks(logits, clicks, inside)
        clicked = clicks.valid.any(dim=1).float()
        loss = self.high_res * (losses * clicked).sum() / clicked.sum().clamp(min=1)
        return {"loss": loss, "clicks": clicks.valid.float().sum(dim=1).mean()}

    def counted(self, batch: Batch) -> Tensor:
        assert batch.clicks is not None
        return batch.clicks.valid.any(dim=1).float().sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Logits (B, 1, S, S) after clicks, scored by the callbacks beside `batch.straight_forward`."""
        return self.repaired(batch)


def _filled(batch: Batch) -> tuple[ObjectFeatures, Clicks]:
    """The fields that a click simulator fills in.

    Raises:
        ValueError: none has.
    """
    if batch.objects is None or batch.clicks is None:
        raise ValueError(
            "batch.objects and batch.clicks are empty: the trainer needs the ClickSimulation callback"
        )
    return batch.objects, batch.clicks


def _corners(batch: Batch, clicks: Clicks, side: int) -> Tensor:
    """Corners of a window around a random click of each sample; anywhere without one."""
    corners = []
    places, given = clicks.points.cpu(), clicks.valid.cpu()
    for points, valid, extent, seed in zip(
        places, given, batch.extent.long().tolist(), batch.seeds, strict=True
    ):
        rng = np.random.default_rng(derive_seed(seed, "window"))
        own = points[valid].numpy()
        middle = own[rng.integers(len(own))] if len(own) else np.zeros(2)
        corners.append(window_around(middle, extent, side, batch.mask.shape[-1], rng))
    return torch.from_numpy(np.stack(corners)).to(batch.mask.device)
