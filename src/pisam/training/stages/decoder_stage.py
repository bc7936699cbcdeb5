"""Stage 1: train the High-Resolution Mask Decoder on frozen SAM."""

from __future__ import annotations

from torch import Tensor

from pisam.core.types import Batch, Prediction
from pisam.modeling.pisam import PiSam
from pisam.training.loss_points import NUM_POINTS
from pisam.training.losses import mask_loss
from pisam.training.stages.encodings import Encodings
from pisam.training.stages.proposals import with_proposals
from pisam.training.stages.rounds import prompts_after_rounds
from pisam.training.stages.stage import Stage
from pisam.training.stages.windows import STEP, cut, draw_windows


class DecoderStage(Stage):
    """Learns straight-forward masks from boxes, and answers to clicks that SAM is prompted with.

    Args:
        model: the network.
        lr: first learning rate.
        low_res: weight of the loss of the quarter-resolution logits.
        high_res: weight of the loss of the full-resolution logits.
        bce: weight of the binary cross-entropy in each.
        dice: weight of the Dice loss in each.
        cache: keep SAM's encoding of each view in memory, for the epochs where it returns.
        rounds: train on answers after up to so many simulated rounds of clicks, see `prompts_after_rounds`.
        proposals: share of the samples that are exchanged for an object that SAM proposes.
        window: side of the part of the frame on which the full-resolution logits are trained, as a share.
    """

    model: PiSam

    def __init__(
        self,
        model: PiSam,
        *,
        lr: float = 1e-3,
        low_res: float = 1.0,
        high_res: float = 1.0,
        bce: float = 1.0,
        dice: float = 1.0,
        cache: bool = False,
        rounds: int = 0,
        proposals: float = 0.0,
        window: float = 1.0,
    ) -> None:
        super().__init__(model, part="decoder", lr=lr, bce=bce, dice=dice)
        self.low_res = low_res
        self.high_res = high_res
        self.encodings = Encodings() if cache else None
        self.rounds = rounds
        self.proposals = proposals
        self.window = window

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        encoded = self._encode(batch)
        if self.proposals:
            batch = with_proposals(self.model, batch, encoded, self.proposals)
        prompts = batch.prompts
        if self.rounds:
            prompts = prompts_after_rounds(self.model, batch, encoded, self.rounds)
        features = self.model.encoder.prompt(*encoded, batch.box, prompts)
        token, mask_feature, logits = self.model.decoder.low_res(features)
        where = (batch.mask, batch.extent, batch.seeds)
        low_res = self.combine(mask_loss(logits, *where, purpose="low_res", ignored=batch.ignored)).mean()
        high_res = self._high_res(batch, token, mask_feature, logits)
        loss = self.low_res * low_res + self.high_res * high_res
        return {"loss": loss, "low_res": low_res, "high_res": high_res}

    def _high_res(self, batch: Batch, token: Tensor, mask_feature: Tensor, logits: Tensor) -> Tensor:
        """The mean loss of the full-resolution logits, of a window of each frame where one is asked for."""
        size = batch.mask.shape[-1]
        side = max(1, round(self.window * size / STEP)) * STEP
        image, mask, extent = self.model.normalise(batch.image), batch.mask, batch.extent
        ignored = batch.ignored
        if side < size:
            corners = draw_windows(mask, extent, side, batch.seeds)
            mask_feature, logits, image, mask = (
                cut(each, corners, side, size) for each in (mask_feature, logits, image, mask)
            )
            ignored = None if ignored is None else cut(ignored, corners, side, size)
            extent = (extent - corners).clamp(max=side)
        _, prediction = self.model.decoder.enhance(token, mask_feature, logits, image)
        terms = mask_loss(
            prediction.high_res,
            mask,
            extent,
            batch.seeds,
            purpose="high_res",
            num_points=round(NUM_POINTS * (side / size) ** 2),
            ignored=ignored,
        )
        return self.combine(terms).mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Logits (B, 1, S, S), scored by the callbacks."""
        prediction: Prediction
        _, prediction = self.model.decode(*self._encode(batch), batch.image, batch.box)
        return prediction.high_res

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.encoded is not None:
            return batch.encoded
        if self.encodings is None:
            return self.model.encode(batch.image)
        return self.encodings(batch, self.training, self.model.encode)
