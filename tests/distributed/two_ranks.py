"""Run by test_ddp.py on two ranks: stage 2 trained, validated, and trained with nothing to click on one rank.

`python two_ranks.py CONFIG OUT` writes what it measured to OUT as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from pisam import build, runs
from pisam.callbacks.click_simulation import ClickSimulation
from pisam.callbacks.interaction_iou import InteractionIoU
from pisam.callbacks.segmentation_iou import SegmentationIoU
from pisam.callbacks.trainability import TrainabilityGuard
from pisam.config import Config, load_config
from pisam.stages.decoder_stage import DecoderStage
from pisam.types import Batch


class NothingToClickOnRank1(ClickSimulation):
    """Real clicks, taken away on the second rank."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        assert batch.clicks is not None
        if trainer.global_rank == 1:
            batch.clicks.valid[:] = False


def validate(config: Config) -> dict[str, float]:
    """Scores of what stage 2 starts from, as it is and after clicks, on the configured number of ranks."""
    data = build.build_data(config, 2)
    stage = build.build_stage(config, 2)
    clicks = ClickSimulation(min_area=config.clicks.min_area)
    scores: dict[str, float] = {}
    for module, callbacks in (
        (stage, [clicks, InteractionIoU(data.set_names)]),
        (DecoderStage(stage.model), [SegmentationIoU(data.set_names)]),
    ):
        trainer = build.build_trainer(config, 2, callbacks, [])
        trainer.validate(module, datamodule=data, verbose=False)
        scores |= {name: float(value) for name, value in trainer.callback_metrics.items()}
    return scores


def train_without_clicks_on_one_rank(config: Config) -> dict[str, float]:
    """Steps and loss of a stage 2, and how far it moved."""
    stage = build.build_stage(config, 2)
    before = stage.model.interactor.residual.weight.detach().clone()
    callbacks = [NothingToClickOnRank1(min_area=config.clicks.min_area), TrainabilityGuard()]
    trainer = build.build_trainer(config, 2, callbacks, [])
    trainer.fit(stage, datamodule=build.build_data(config, 2))
    moved = (stage.model.interactor.residual.weight - before).abs().max()
    loss = trainer.callback_metrics["train/loss"]
    return {"steps": trainer.global_step, "loss": float(loss), "moved": float(moved)}


@rank_zero_only
def write(measured: dict[str, Any], out: Path) -> None:
    out.write_text(json.dumps(measured))


if __name__ == "__main__":
    config = load_config(sys.argv[1])
    runs.train(config, 2)
    scores, clickless = validate(config), train_without_clicks_on_one_rank(config)
    write({"scores": scores, "clickless": clickless}, Path(sys.argv[2]))
