"""Lightning's trainer of a stage, its callbacks and loggers, and Fabric for what runs outside of one."""

from __future__ import annotations

import inspect
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from pisam.config.schema import Config, StageConfig, decisive_settings, simulation_of, stage_config, to_plain
from pisam.config.scores import monitored
from pisam.core.errors import PisamError
from pisam.core.processes import announced_to_children, serve_starter, waiting_for_peers
from pisam.core.provenance import git_revision
from pisam.metrics.protocol import Protocol
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.ends import CheckpointArtifacts, EarlyStop, FinalValidation, RunSummary
from pisam.training.callbacks.first_steps import FirstSteps, MemoryCheck
from pisam.training.callbacks.guards import FiniteLoss, FirstError, TrainabilityGuard
from pisam.training.callbacks.mask_panels import MaskPanels
from pisam.training.callbacks.scores import ImageScores, InteractionIoU, SegmentationIoU
from pisam.training.callbacks.weight_average import WeightAverage
from pisam.training.features.feature_store import FeatureStore
from pisam.training.features.frozen_features import FrozenFeatures, StoredEncodings, StoredFeatures
from pisam.training.logging.loggers import Dashboard, JsonLinesLogger, StageRun, read_run_id
from pisam.training.logging.throughput import Throughput
from pisam.training.resume.checkpoint_io import LAST, BestCheckpoint, VerifiedCheckpointIO
from pisam.training.resume.last_checkpoint import LastCheckpoint
from pisam.training.resume.preemption import Preemption, TimeLimit
from pisam.training.resume.ranks import SameStart
from pisam.training.run_folder import stage1_checkpoint, stage_dir
from pisam.training.stages.stage import Stage


def build_trainer(config: Config, number: int, callbacks: list[Callback], loggers: list[Logger]) -> Trainer:
    """Lightning's trainer."""
    options, schedule = config.trainer, stage_config(config, number)
    precision: Any = options.precision
    return Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.num_nodes,
        strategy=build_strategy(options.strategy, options.devices, options.num_nodes, options.timeout),
        plugins=[VerifiedCheckpointIO(), *cluster_environment()],
        precision=precision,
        accumulate_grad_batches=schedule.accumulate,
        **duration(schedule),
        callbacks=callbacks,
        logger=loggers,
        profiler=next((c.profiler for c in callbacks if isinstance(c, Throughput)), None),
        log_every_n_steps=config.logging.every,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        default_root_dir=config.run_dir,
    )


def build_loggers(config: Config, number: int, facts: dict[str, Any]) -> list[Logger]:
    """`metrics.jsonl`, and one W&B run per stage in one group, offline by default."""
    folder = stage_dir(config, number)
    loggers: list[Logger] = [JsonLinesLogger(folder / "metrics.jsonl")]
    if config.logging.mode != "disabled":
        loggers.append(
            StageRun(
                folder,
                mode=config.logging.mode,
                config={**to_plain(config), **facts},
                project=config.logging.project,
                group=config.logging.group,
                name=f"{config.name}-stage{number}",
                job_type=f"stage{number}",
                tags=[config.model.backbone, config.model.decoder, f"stage{number}"],
                id=os.environ.get("WANDB_RUN_ID") or read_run_id(folder),  # that of a sweep goes first
            )
        )
    return loggers + [_further(name, folder) for name in config.logging.also]


def launch_ranks(config: Config) -> Fabric:
    """All configured devices, each with a process of its own from here on, and the precision of training."""
    options = config.trainer
    precision: Any = options.precision
    fabric = Fabric(
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.num_nodes,
        strategy=options.strategy,
        precision=precision,
    )
    serve_starter()
    with announced_to_children(), waiting_for_peers():
        fabric.launch()
    return fabric


def duration(schedule: StageConfig) -> dict[str, Any]:
    """Lightning's arguments for the length of training and its validations; `FinalValidation` adds some."""
    if schedule.max_steps < 1:
        return {"max_epochs": schedule.epochs, "check_val_every_n_epoch": schedule.val_every}
    batches = schedule.max_steps * schedule.accumulate
    return {
        "max_epochs": -1,
        "max_steps": schedule.max_steps,
        "check_val_every_n_epoch": None,
        "val_check_interval": batches,
    }


def build_strategy(name: str, devices: Any, num_nodes: int, timeout: float = 10.0) -> str | DDPStrategy:
    """DDP without re-sending frozen SAM's buffers, its timeout in minutes; alone, what Lightning chooses."""
    if name == "auto" and num_nodes == 1 and not _several(devices):
        return name
    unused = name == "ddp_find_unused_parameters_true"
    # Newer versions of torch have another name for it, and warn of the old one.
    new = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    buffers: dict[str, Any] = {"forward_sync_buffers" if new else "broadcast_buffers": False}
    return DDPStrategy(find_unused_parameters=unused, timeout=timedelta(minutes=timeout), **buffers)


def cluster_environment() -> list[ClusterEnvironment]:
    """SLURM without Lightning's own requeueing: `Preemption` saves, the job's script requeues."""
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        return [SLURMEnvironment(auto_requeue=False)]
    return []


def _several(devices: Any) -> bool:
    if devices in ("auto", -1, "-1"):
        return torch.cuda.device_count() > 1
    return len(devices) > 1 if isinstance(devices, list) else int(devices) > 1


def _further(name: str, folder: Path) -> Logger:
    if name == "csv":
        return CSVLogger(folder, name="csv")  # a file per attempt: one of its own is overwritten
    try:
        return TensorBoardLogger(folder, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise PisamError(
            "logging.also: tensorboard is not installed: pip install 'pisam[tensorboard]'"
        ) from error


def build_callbacks(
    config: Config,
    number: int,
    stage: Stage,
    samples: dict[str, dict[str, int]],
    store: FeatureStore | None = None,
) -> list[Callback]:
    """Build the callbacks of a stage; progress, learning rate and checkpoints are Lightning's own.

    Args:
        samples: number of each set's, under `train` and `val`.
        store: of frozen features, where they are kept on disk.
    """
    set_names = list(samples["val"])
    folder, schedule = stage_dir(config, number), stage_config(config, number)
    scores = SegmentationIoU(set_names) if number == 1 else InteractionIoU(set_names)
    monitor = monitored(config, number)
    facts = {
        "name": config.name,
        "stage": number,
        "seed": config.seed,
        **stage.model.identity(),
        **git_revision(),
        "samples": samples,
        "protocol": Protocol(image_size=config.model.image_size).as_dict(),
        "pictures": str(folder / "pictures") if config.logging.images else None,
    }
    own: list[Callback] = [
        FiniteLoss(),
        scores,
        TrainabilityGuard(),
        RunSummary(folder / "summary.json", monitor=monitor, facts=facts),
    ]
    if number == 2:
        kept, altered = _features(config, store), config.stage2.altered
        own.append(ClickSimulation(features=kept, altered=altered, **simulation_of(config.clicks)))
    elif store is not None:
        own.insert(0, StoredEncodings(store))
    if schedule.ema is not None:
        own.append(WeightAverage(schedule.ema))
    if schedule.early_stop is not None:
        own.append(EarlyStop(monitor=monitor, patience=schedule.early_stop))
    if config.logging.images:
        own.append(MaskPanels(folder / "pictures", set_names, config.logging.images))
    checkpoints = folder / "checkpoints"
    if config.logging.mode != "disabled":
        start = None if number == 1 else stage1_checkpoint(config)
        own += [
            Dashboard(scores.scores.names),
            ImageScores(scores, spread="iou" if number == 1 else "iou_gain"),
            CheckpointArtifacts(checkpoints, name=f"{config.logging.group}-stage{number}", start=start),
        ]
    return [
        LastCheckpoint(checkpoints / LAST, seconds=config.trainer.save_seconds),
        Preemption(),
        TimeLimit(config.trainer.max_time),
        FirstError(),
        SameStart(decisive_settings(config, number)),
        *own,
        FinalValidation(schedule.max_steps),
        Throughput(),
        MemoryCheck(
            batch_size=config.data.batch_size,
            image_size=config.model.image_size,
            clicks=config.clicks.max_clicks if number == 2 else 0,
            on_gpu=config.trainer.dry_run is not False,
            on_cpu=config.trainer.dry_run is True,
        ),
        FirstSteps(),
        BestCheckpoint(checkpoints, monitor=monitor),
    ]


def _features(config: Config, store: FeatureStore | None) -> FrozenFeatures | StoredFeatures | None:
    if store is not None:
        if config.stage2.rounds or config.model.from_sam or config.clicks.reprompt:
            raise PisamError(
                "stage2.cache: what is kept on disk is the paper's answer to a box alone; leave it out where "
                "stage2.rounds, model.from_sam or clicks.reprompt is set"
            )
        return StoredFeatures(store)
    return FrozenFeatures() if config.stage2.views > 0 else None
