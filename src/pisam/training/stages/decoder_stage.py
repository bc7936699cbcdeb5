"""Stage 1: train the High-Resolution Mask Decoder on frozen SAM."""

from __future__ import annotations

from torch import Tensor

from pisam.core.types import Batch
from pisam.modeling.pisam import PiSam
from pisam.training.losses import mask_loss
from pisam.training.stages.stage import Stage


class DecoderStage(Stage):
    """Learns straight-forward masks from boxes.

    Args:
        model: the network.
        lr: first learning rate.
        low_res: weight of the loss of the quarter-resolution logits.
        high_res: weight of the loss of the full-resolution logits.
        bce: weight of the binary cross-entropy in each.
        dice: weight of the Dice loss in each.
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
    ) -> None:
        super().__init__(model, part="decoder", lr=lr, bce=bce, dice=dice)
        self.low_res = low_res
        self.high_res = high_res

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        _, prediction = self.model.straight_forward(batch.image, batch.box, batch.prompts, batch.encoded)
        where = (batch.mask, batch.extent, batch.seeds)
        low, high = (
            mask_loss(logits, *where, purpose=purpose, ignored=batch.ignored)
            for logits, purpose in ((prediction.low_res, "low_res"), (prediction.high_res, "high_res"))
        )
        low_res, high_res = self.combine(low).mean(), self.combine(high).mean()
        loss = self.low_res * low_res + self.high_res * high_res
        return {"loss": loss, "low_res": low_res, "high_res": high_res}

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Logits (B, 1, S, S), scored by the callbacks."""
        _, prediction = self.model.straight_forward(batch.image, batch.box, encoded=batch.encoded)
        return prediction.high_res
