"""Pictures of a fixed set of validation samples: image, mask, before and after, with the clicks drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from PIL import Image
from torch import Tensor

from pisam.core.drawing import draw_clicks
from pisam.core.types import Batch
from pisam.training.logging.loggers import last_step
from pisam.training.resume.ranks import from_every_rank

LABELS = {1: "object"}
WIDEST = 1024  # pixels; larger panels make dashboards slow


class MaskPanels(Callback):
    """Logs panels to W&B with masks that can be switched on and off, and keeps them as files of the run.

    Args:
        folder: where the pictures are kept; each validation replaces those of the one before.
        set_names: all validation sets; the samples are the first of each, by name: the same after every
            validation and for any number of ranks.
        images: number of panels, at most.
    """

    def __init__(self, folder: Path, set_names: Sequence[str], images: int) -> None:
        self.folder = folder
        self.set_names = list(set_names)
        self.per_set = -(-images // len(set_names))
        self.images = images
        self._shown: Counter[str] = Counter()
        self._panels: list[Panel] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._shown.clear()
        self._panels.clear()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        for index, name in enumerate(batch.sets):
            if self._shown[name] < self.per_set:  # the first of all ranks are among the first of each
                self._shown[name] += 1
                self._panels.append(Panel(batch, index, outputs))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        panels = self._chosen(trainer)
        if not panels or not trainer.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for panel in panels:
            panel.strip().save(self.folder / f"{panel.name}.jpg", quality=90)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(
                    "panels",
                    step=last_step(trainer),
                    images=[panel.picture() for panel in panels],
                    caption=[panel.name for panel in panels],
                    masks=[panel.overlays() for panel in panels],
                    file_type=["jpg"] * len(panels),
                )

    def _chosen(self, trainer: Trainer) -> list[Panel]:
        """The panels of all ranks, ordered by set and image, no more of a set and in all than asked for."""
        panels = [panel for rank in from_every_rank(trainer, self._panels) for panel in rank]
        chosen: list[Panel] = []
        for name in self.set_names:
            of_set = sorted((panel for panel in panels if panel.set == name), key=lambda panel: panel.id)
            chosen += of_set[: self.per_set]
        return chosen[: self.images]


class Panel:
    """One sample of a batch, on the CPU, at the size it is shown in."""

    def __init__(self, batch: Batch, index: int, outputs: Tensor) -> None:
        self.set, self.id = batch.sets[index], batch.ids[index]
        self.name = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{self.set}-{self.id}")
        self.side = min(WIDEST, batch.image.shape[-1])
        self.scale = self.side / batch.image.shape[-1]
        self.image = _fit(batch.image[index].permute(1, 2, 0), self.side)
        masks = {"mask": batch.mask[index, 0]}
        if batch.straight_forward is None:
            masks["prediction"] = outputs[index, 0] > 0
        else:
            masks["before"] = batch.straight_forward.high_res[index, 0] > 0
            masks["after"] = outputs[index, 0] > 0
        self.masks = {name: _fit(mask, self.side) for name, mask in masks.items()}
        self.clicks = [] if batch.clicks is None else batch.clicks.rows(index)

    def picture(self) -> Image.Image:
        """The image with the clicks drawn on it."""
        return self._with_clicks(Image.fromarray(self.image))

    def overlays(self) -> dict:
        """The masks as W&B shows them over a picture."""
        return {
            name: {"mask_data": mask.astype(np.uint8), "class_labels": LABELS}
            for name, mask in self.masks.items()
        }

    def strip(self) -> Image.Image:
        """Image and masks side by side; clicks on the image and on the mask they were made on."""
        tiles = [self.picture()]
        for name, mask in self.masks.items():
            tile = Image.fromarray(mask.astype(np.uint8) * 255).convert("RGB")
            tiles.append(self._with_clicks(tile) if name == "before" else tile)
        strip = Image.new("RGB", (len(tiles) * (self.side + 4) - 4, self.side), (128, 128, 128))
        for column, tile in enumerate(tiles):
            strip.paste(tile, (column * (self.side + 4), 0))
        return strip

    def _with_clicks(self, picture: Image.Image) -> Image.Image:
        return draw_clicks(picture, self.clicks, scale=self.scale)


def _fit(pixels: Tensor, side: int) -> np.ndarray:
    """(H, W) bool or (H, W, 3) uint8, copied to the CPU and thinned out to `side` rows and columns."""
    rows = torch.arange(side) * pixels.shape[0] // side
    return pixels.cpu()[rows][:, rows].numpy().copy()
