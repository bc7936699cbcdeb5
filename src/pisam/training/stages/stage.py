"""What both stages share: one trained part, its optimiser, and checkpoints without frozen SAM."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor

from pisam.core.types import Batch
from pisam.modeling.pisam import checkpoint_of, load_checkpoint
from pisam.modeling.sam_network import Part, SamNetwork
from pisam.training.losses import MaskLoss
from pisam.training.optim import adam_with_cosine


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
        # Averaged values of the trained parameters, where a callback keeps them: what checkpoints then hold.
        self.averaged: dict[str, Tensor] = {}
        self.strict_loading = False  # Lightning's; ours in on_load_checkpoint is stricter
        self._identity: dict[str, Any] | None = None

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars of a training batch: `loss`, which is minimised, and what else is worth a curve."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        losses = self.losses(batch)
        self.log_losses(losses, batch)
        return losses["loss"]

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adam_with_cosine(self.model.parameters(), lr=self.lr, steps=steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._identity is None:  # hashing a large SAM takes seconds, and it does not change
            self._identity = self.model.identity()
        checkpoint.update(checkpoint_of(self.model, self._identity))
        checkpoint["state_dict"] |= {f"model.{name}": value for name, value in self.averaged.items()}

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
