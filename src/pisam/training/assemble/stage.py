"""A stage: the network, its loss weights and its learning rate."""

from __future__ import annotations

from pisam.config.schema import Config, StageConfig
from pisam.core.errors import PisamError
from pisam.modeling.pisam import load_checkpoint, read_own_checkpoint
from pisam.training.assemble.folders import stage1_checkpoint
from pisam.training.assemble.network import build_hq_network, build_network
from pisam.training.stages.decoder_stage import DecoderStage
from pisam.training.stages.hq_stage import HqStage
from pisam.training.stages.interactor_stage import InteractorStage
from pisam.training.stages.stage import Stage


def stage_config(config: Config, number: int) -> StageConfig:
    """The section of a stage."""
    return config.stage1 if number == 1 else config.stage2


def check_stage(config: Config, number: int) -> None:
    """Refuse a stage that the configured decoder does not have.

    Raises:
        PisamError: stage 2 of HQ-SAM.
    """
    if number == 2 and config.model.decoder == "hq":
        raise PisamError(
            "stage 2 trains Pi-SAM's interactor, and model.decoder=hq has none: train stage=1 of it, or use "
            "model.decoder=pi"
        )


def build_stage(config: Config, number: int) -> Stage:
    """Stage 1, or stage 2 on top of a trained stage 1.

    Raises:
        PisamError: no stage 1 to start from, or one of another model; or a stage the decoder does not have.
    """
    check_stage(config, number)
    loss = config.loss
    if config.model.decoder == "hq":
        return HqStage(
            build_hq_network(config),
            lr=config.stage1.lr,
            low_res=loss.low_res,
            bce=loss.bce,
            dice=loss.dice,
        )
    if number == 1:
        return DecoderStage(
            build_network(config),
            lr=config.stage1.lr,
            low_res=loss.low_res,
            high_res=loss.high_res,
            bce=loss.bce,
            dice=loss.dice,
        )
    checkpoint = stage1_checkpoint(config)
    contents = read_own_checkpoint(checkpoint)
    model = build_network(config)
    load_checkpoint(model, contents, checkpoint)
    return InteractorStage(
        model,
        lr=config.stage2.lr,
        high_res=loss.high_res,
        bce=loss.bce,
        dice=loss.dice,
        near_clicks=loss.near_clicks,
    )
