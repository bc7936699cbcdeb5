"""The store of frozen features that a stage's configuration asks for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pisam.config.schema import Config, stage_config, training_prompts
from pisam.core.errors import PisamError
from pisam.data.audit.cache import stamp_of
from pisam.data.datamodule import PairDataModule
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_weights import hash_tensors
from pisam.training.features.feature_store import FeatureStore, Key
from pisam.training.features.frozen_features import encoder_layout, object_layout
from pisam.training.from_config import stage1_state


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
    """Each view of training and each validation image.

    Returns:
        a text for each that changes when its files do, or the meaning of its mask's values.
    """
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
