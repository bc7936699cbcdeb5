"""Run by test_ddp.py on two ranks: stage 2 trained, validated, and trained with nothing to click on one rank.

`python two_ranks.py CONFIG OUT` writes what it measured to OUT as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from pisam.commands.train import train
from pisam.config.load import load_config
from pisam.config.schema import Config
from pisam.core.types import Batch
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.guards import TrainabilityGuard
from pisam.training.callbacks.scores import InteractionIoU, SegmentationIoU
from pisam.training.from_config import build_data, build_stage
from pisam.training.stages.decoder_stage import DecoderStage
from pisam.training.trainer import build_trainer


class NothingToClickOnRank1(ClickSimulation):
    """Real clicks, taken away on the second rank."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        assert batch.clicks is not None
        if trainer.global_rank == 1:
            batch.clicks.valid[:] = False


# 21 images: on two ranks one rank has no image of `single`, and one an image more than the other.
TO_VALIDATE = {"many": 18, "few": 2, "single": 1}
NO_ERROR_IS_SO_LARGE = 10**6


def validate(config: Config) -> dict[str, float]:
    """Scores of what stage 2 starts from on 21 images and the configured number of ranks.

    As it is and after clicks; under `none/` where no error is large enough for a click.
    """
    rows = [{"name": name, "images": f"{name}/images", "masks": f"{name}/masks"} for name in TO_VALIDATE]
    config = replace(config, data=replace(config.data, val=rows))
    data = build_data(config, 2)
    stage = build_stage(config, 2)
    scores: dict[str, float] = {}
    after_clicks = [
        (prefix, stage, [ClickSimulation(min_area=min_area), InteractionIoU(list(TO_VALIDATE))])
        for prefix, min_area in (("", config.clicks.min_area), ("none/", NO_ERROR_IS_SO_LARGE))
    ]
    for prefix, module, callbacks in (
        *after_clicks,
        ("", DecoderStage(stage.model), [SegmentationIoU(list(TO_VALIDATE))]),
    ):
        trainer = build_trainer(config, 2, callbacks, [])
        trainer.validate(module, datamodule=data, verbose=False)
        scores |= {f"{prefix}{name}": float(value) for name, value in trainer.callback_metrics.items()}
    return scores


def train_without_clicks_on_one_rank(config: Config) -> dict[str, float]:
    """Steps and loss of a stage 2, and how far it moved."""
    stage = build_stage(config, 2)
    before = stage.model.interactor.residual.weight.detach().clone()
    callbacks = [NothingToClickOnRank1(min_area=config.clicks.min_area), TrainabilityGuard()]
    trainer = build_trainer(config, 2, callbacks, [])
    trainer.fit(stage, datamodule=build_data(config, 2))
    moved = (stage.model.interactor.residual.weight - before).abs().max()
    loss = trainer.callback_metrics["train/loss"]
    return {"steps": trainer.global_step, "loss": float(loss), "moved": float(moved)}


@rank_zero_only
def write(measured: dict[str, Any], out: Path) -> None:
    out.write_text(json.dumps(measured))


if __name__ == "__main__":
    config = load_config(sys.argv[1])
    train(config, 2)
    scores, clickless = validate(config), train_without_clicks_on_one_rank(config)
    write({"scores": scores, "clickless": clickless}, Path(sys.argv[2]))
