"""The networks, data, stages and stores of frozen features that a configuration asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pisam.config.rules import walk
from pisam.config.schema import Config, stage_config, training_prompts, training_sources
from pisam.config.scores import monitored
from pisam.core.errors import PisamError
from pisam.data.audit.cache import stamp_of
from pisam.data.datamodule import PairDataModule
from pisam.data.prompts import PromptMix
from pisam.modeling.checkpoint import load_checkpoint, load_in_frame, read_own_checkpoint
from pisam.modeling.hq_sam import HqSam, build_hq_sam
from pisam.modeling.pisam import PiSam, build_model
from pisam.modeling.sam_network import SamNetwork
from pisam.modeling.sam_weights import hash_tensors
from pisam.training.features.feature_store import FeatureStore, Key
from pisam.training.features.frozen_features import encoder_layout, object_layout
from pisam.training.run_folder import best_checkpoint, decoder_checkpoint, stage1_checkpoint
from pisam.training.stages.decoder_stage import DecoderStage, HqStage
from pisam.training.stages.interactor_stage import InteractorStage
from pisam.training.stages.stage import Stage


def build_network(config: Config, image_size: int | None = None) -> PiSam:
    """Pi-SAM with SAM's weights, its own parts initialised from the seed; of another frame if given."""
    torch.manual_seed(config.seed)
    model = config.model
    if model.guard and not model.from_sam:
        raise PisamError(
            "model.guard: needs model.from_sam=true, for without it the decoder has no mask of SAM's"
        )
    return build_model(
        model.backbone,
        model.weights,
        image_size or model.image_size,
        from_sam=model.from_sam,
        local=model.local,
        guard=model.guard,
        reprompt=config.clicks.reprompt,
    )


def build_hq_network(config: Config, image_size: int | None = None) -> HqSam:
    """HQ-SAM with SAM's weights, its own parts initialised from the seed; of another frame if given."""
    torch.manual_seed(config.seed)
    return build_hq_sam(config.model.backbone, config.model.weights, image_size or config.model.image_size)


def compile_network(model: SamNetwork) -> None:
    """Have torch compile the parts at their first use, in place: the names of their weights stay.

    SAM's prompt encoder is small, and every other number of points would be compiled anew: it is left out.
    """
    model.encoder.image_encoder.compile()
    model.decoder.compile()
    if isinstance(model, PiSam):
        model.interactor.compile()
        head = model.decoder.head
        head.finish = torch.compile(head.finish)  # type: ignore[method-assign]  # stage 2 calls this alone


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
        views=stage_config(config, number).views,
        composites=config.data.composites,
        prepared=config.data.prepared,
        instances=config.data.min_instance if config.data.instances == "components" else None,
        photometric=config.data.photometric,
        prompts=PromptMix(**asdict(training_prompts(config, number))),
        seed=config.seed,
        timeout=60 * config.trainer.timeout,
    )


def check_stage(config: Config, number: int) -> None:
    """Refuse a stage that the decoder does not have, that would learn nothing, or whose best is no score.

    Raises:
        PisamError: stage 2 of HQ-SAM, all weights of the loss are 0, or no validation gives its monitor.
    """
    if number == 2 and config.model.decoder == "hq":
        raise PisamError(
            "stage 2 trains Pi-SAM's interactor, and model.decoder=hq has none: train stage=1 of it, or use "
            "model.decoder=pi"
        )
    loss = config.loss
    masks, terms = loss.high_res, loss.bce + loss.dice
    if config.model.decoder == "hq":
        masks = loss.low_res
    elif number == 1:
        masks += loss.low_res
    else:
        terms += loss.at_clicks
    if not masks * terms:
        raise PisamError(f"loss: all weights of stage {number} are 0, so it would learn nothing; set some")
    monitored(config, number)


def keys_without_effect(config: Config) -> list[str]:
    """Keys that are set and that HQ-SAM has no use for; none where the decoder is Pi-SAM's."""
    if config.model.decoder != "hq":
        return []
    return [key for key, f, value in walk(config) if f.metadata["of_pi"] and value != f.default]


def build_stage(config: Config, number: int) -> Stage:
    """Stage 1, or stage 2 on top of a trained stage 1.

    Raises:
        PisamError: no stage 1 to start from, or one of another model; or a stage the decoder does not have.
    """
    check_stage(config, number)
    loss, first, second = config.loss, config.stage1, config.stage2
    terms = {"bce": loss.bce, "dice": loss.dice}
    if config.model.decoder == "hq":
        return HqStage(build_hq_network(config), lr=first.lr, low_res=loss.low_res, **terms)
    if number == 1:
        build = partial(build_network, config)
        if begin := decoder_checkpoint(config):
            model = load_in_frame(build, read_own_checkpoint(begin), begin, config.model.image_size)
        else:
            model = build()
        return DecoderStage(
            model,
            lr=first.lr,
            low_res=loss.low_res,
            high_res=loss.high_res,
            cache=first.views > 0,
            rounds=first.rounds,
            proposals=first.proposals,
            window=first.window,
            **terms,
        )
    checkpoint, model = stage1_checkpoint(config), build_network(config)
    load_checkpoint(model, read_own_checkpoint(checkpoint), checkpoint)
    return InteractorStage(
        model,
        lr=second.lr,
        high_res=loss.high_res,
        near_clicks=loss.near_clicks,
        near_spreads=loss.near_spreads,
        at_clicks=loss.at_clicks,
        rounds=second.rounds,
        window=second.window,
        **terms,
    )


def stage1_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The weights that stage 2 leaves as stage 1 has made them, of a model's or a checkpoint's state."""
    weights = {name.removeprefix("model."): value for name, value in state.items()}
    return {name: value for name, value in weights.items() if not name.startswith("interactor.")}


def refuse_other_stage1(config: Config, checkpoint: Path) -> None:
    """Refuse a stage 2 that was begun on another stage 1 than it has now.

    It would go on with the one that it holds, while stored features, and scores of the run's stage 1, are
    others.

    Args:
        config: of the stage; nothing is refused where its stage 1 is gone.
        checkpoint: of stage 2.

    Raises:
        PisamError: so it is, or one of the two is no checkpoint of ours.
    """
    begin = best_checkpoint(Path(config.stage2.from_ or config.run_dir))
    if begin is None:
        return
    theirs, now = (stage1_state(read_own_checkpoint(file)["state_dict"]) for file in (checkpoint, begin))
    # Files of shared weights may hold fewer digits: the model has what it made of them.
    if theirs.keys() != now.keys() or not all(
        now[key].shape == value.shape and torch.equal(now[key].to(value), value)
        for key, value in theirs.items()
    ):
        raise PisamError(
            f"checkpoint {checkpoint}: this run was begun on another stage 1 than {begin} is now; put that "
            "back, or choose another run_dir"
        )


def open_store(config: Config, number: int, model: Any, data: PairDataModule) -> FeatureStore | None:
    """The store of `stageN.cache`, or None where there is none.

    Args:
        model: the network of the stage, its weights loaded.
        data: set up.

    Raises:
        PisamError: views never return, HQ-SAM, or see `FeatureStore`.
    """
    schedule = stage_config(config, number)
    if schedule.cache is None:
        return None
    if schedule.views < 1:
        raise PisamError(
            f"stage{number}.cache: with stage{number}.views=0 no augmented view ever returns; say how many "
            "views an image has"
        )
    if not isinstance(model, PiSam):
        raise PisamError(f"stage{number}.cache: keeps Pi-SAM's features; HQ-SAM trains without")
    half, size = config.trainer.precision != "32-true", config.model.image_size
    if number == 1:
        first: Any = model.decoder.mask_feature.from_early[0]
        layout = encoder_layout(size, first.in_channels, half=half)
    else:
        layout = object_layout(size, half=half)
    stamps = view_stamps(data)
    return FeatureStore(
        Path(schedule.cache),
        layout=layout,
        stamps=stamps,
        identity=_identity(config, number, model, stamps),
        limit=int(schedule.cache_gb * 1e9),
    )


def view_stamps(data: PairDataModule) -> dict[Key, str]:
    """Of each training view and validation image a text that changes when its files or values' meaning do."""
    stamps: dict[Key, str] = {}
    for part, samples, views in (("train", data.train_set, data.views), ("val", data.val_set, 1)):
        for source, pair in samples.items if samples else ():
            for view in range(views):
                stamps[part, source.name, pair.id, view] = str([stamp_of(pair), pair.ids, pair.ignore])
    return stamps


def _identity(config: Config, number: int, model: PiSam, stamps: dict[Key, str]) -> dict[str, Any]:
    """Settings that decide a view's features beside its files, as plain JSON values."""
    drawn = {
        "seed": config.seed,
        "flip": config.data.flip,
        "jitter": list(config.data.jitter),
        "photometric": config.data.photometric,
        "instances": [config.data.instances, config.data.min_instance],
        "prompts": asdict(training_prompts(config, number)) if number == 2 else None,
    }
    if config.data.composites:  # any picture may be pasted on any other
        pasted = sorted([*key, stamp] for key, stamp in stamps.items() if key[0] == "train")
        drawn["composites"] = [config.data.composites, pasted]
    identity = {
        "stage": number,
        "image_size": config.model.image_size,
        "frozen_hash": model.frozen_hash(),
        "precision": config.trainer.precision,
        "views": hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()[:16],
    }
    if number == 2:
        identity["decoder"] = hash_tensors(stage1_state(model.own_state()))[:16]
    return identity
