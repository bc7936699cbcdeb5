"""The data of a stage."""

from __future__ import annotations

from dataclasses import asdict

from pisam.config.schema import Config, training_prompts, training_sources
from pisam.data.datamodule import PairDataModule
from pisam.data.prompts import PromptMix


def build_data(config: Config, number: int) -> PairDataModule:
    """The data of a stage."""
    return PairDataModule(
        root=config.data.root,
        train=training_sources(config, number),
        val=config.data.val,
        image_size=config.model.image_size,
        batch_size=config.data.batch_size,
        workers=config.data.workers,
        flip=config.data.flip,
        jitter=config.data.jitter,
        views=config.stage2.views if number == 2 else 0,
        prepared=config.data.prepared,
        instances=config.data.min_instance if config.data.instances == "components" else None,
        photometric=config.data.photometric,
        prompts=PromptMix(**asdict(training_prompts(config, number))),
        seed=config.seed,
    )
