"""What both stages share: one trained part, its optimiser, and checkpoints without frozen SAM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor

from pisam.losses import MaskLoss
from pisam.modeling.pisam import checkpoint_of, load_checkpoint
from pisam.modeling.sam_network import Part, SamNetwork
from pisam.stages.optim import adam_with_cosine
from pisam.types import Batch


class Stage(LightningModule):
    """A training of one part of a network; everything else is frozen.

    Args:
        model: the network.
        part: what is trained.
        lr: first learning rate.
        bce: weight of the binary cross-entropy.
        dice: weight of the Dice loss.
    """

    model: SamNetwork

    def __init__(self, model: SamNetwork, *, part: Part, lr: float, bce: float, dice: float) -> None:
        super().__init__()
        model.train_only(part)
        self.model = model
        self.lr = lr
        self.bce = bce
        self.dice = dice
        self.strict_loading = False  # Lightning's; ours in on_load_checkpoint is stricter
        self._identity: dict[str, Any] | None = None

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_with_cosine(self.model.parameters(), lr=self.lr, steps=steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._identity is None:  # hashing a large SAM takes seconds, and it does not change
            self._identity = self.model.identity()
        checkpoint.update(checkpoint_of(self.model, self._identity))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        load_checkpoint(self.model, checkpoint, Path(str(self.trainer.ckpt_path)))

    def combine(self, loss: MaskLoss) -> Tensor:
        """Both terms of a mask loss, weighted: (B,)."""
        return self.bce * loss.bce + self.dice * loss.dice

    def log_losses(self, losses: dict[str, Tensor], batch: Batch) -> None:
        """Log scalars under `train/`, averaged over ranks, with the total on the progress bar."""
        for name, value in losses.items():
            self.log(
                f"train/{name}",
                value.detach(),
                prog_bar=name == "loss",
                batch_size=len(batch),
                sync_dist=True,
            )
