"""HQ-SAM trained as Pi-SAM's stage 1 is: the same data, loss and schedule on its own mask."""

from __future__ import annotations

from torch import Tensor

from pisam.core.types import Batch
from pisam.modeling.hq_sam import HqSam
from pisam.training.losses import mask_loss
from pisam.training.stages.stage import Stage


class HqStage(Stage):
    """Trains the HQ token and its features; the mask is scored at its own resolution, as the authors do.

    Args:
        model: the network.
        lr: first learning rate.
        low_res: weight of the loss of the logits.
        bce: weight of the binary cross-entropy.
        dice: weight of the Dice loss.
    """

    model: HqSam

    def __init__(
        self, model: HqSam, *, lr: float = 1e-3, low_res: float = 1.0, bce: float = 1.0, dice: float = 1.0
    ) -> None:
        super().__init__(model, part="decoder", lr=lr, bce=bce, dice=dice)
        self.low_res = low_res

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.model(batch.image, batch.box, batch.prompts).low_res
        terms = mask_loss(
            logits, batch.mask, batch.extent, batch.seeds, purpose="low_res", ignored=batch.ignored
        )
        return {"loss": self.low_res * self.combine(terms).mean()}

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Logits (B, 1, S, S), scored by the callbacks."""
        return self.model(batch.image, batch.box).high_res
