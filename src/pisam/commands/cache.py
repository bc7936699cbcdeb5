"""Compute the frozen features of a stage and keep them on disk, before it is trained or while it is.

    pisam cache [EXPERIMENT] stage=1|2 [key=value ...]

group: Data
stage=1|2: 1 keeps SAM's encodings, 2 the object features of the trained stage 1, in stageN.cache
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from tqdm import tqdm

from pisam.commands.shared.begin import generate_data
from pisam.commands.shared.command import Arguments
from pisam.config.schema import Config, stage_config
from pisam.core.errors import PisamError
from pisam.core.processes import waiting_for_peers
from pisam.training.features.frozen_features import StoredEncodings, StoredFeatures
from pisam.training.from_config import build_data, build_stage, check_stage, open_store
from pisam.training.trainer import launch_ranks


def run(arguments: Arguments) -> None:
    """Fill the store of the stage that the arguments name."""
    fill_cache(arguments.config(), int(arguments.own["stage"]))


def fill_cache(config: Config, number: int) -> None:
    """Fill `stageN.cache` with every view of the stage, on all devices; what is there is not computed again.

    Raises:
        PisamError: no folder is named, or see `open_store`.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    check_stage(config, number)
    folder = stage_config(config, number).cache
    if folder is None:
        raise PisamError(f"stage{number}.cache: names no folder to fill; add stage{number}.cache=DIR")
    generate_data(config)
    fabric = launch_ranks(config)
    data = build_data(config, number)
    data.setup("fit")
    stage = build_stage(config, number)
    if fabric.is_global_zero:
        data.check_files()
    store = open_store(config, number, stage.model, data)
    assert store is not None and data.train_set is not None and data.val_set is not None
    network: Any = stage.to(fabric.device).eval()
    views = [(index, view) for index in range(len(data.train_set)) for view in range(data.views)]
    share = slice(fabric.global_rank, None, fabric.world_size)
    loaders = [
        ("train", data.train_dataloader_of(views[share])),
        ("val", data.val_dataloader_of(range(len(data.val_set))[share])),
    ]
    total = sum(len(loader) for _, loader in loaders)
    with (
        torch.no_grad(),
        fabric.autocast(),
        tqdm(total=total, desc="features", unit="view", disable=not fabric.is_global_zero) as done,
    ):
        for part, loader in loaders:
            for batch in loader:
                batch = fabric.to_device(batch)
                if number == 1:
                    StoredEncodings(store).fill(batch, part, network.model.encode)
                else:
                    StoredFeatures(store)(batch, part, network.straight_forward)
                done.update()
    with waiting_for_peers():
        fabric.barrier()
    if fabric.is_global_zero:
        print(f"{len(store)} views in {folder}; training with stage{number}.cache={folder} reads them")
