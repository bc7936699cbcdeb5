"""Lightning's trainer and its loggers, and Fabric for what runs outside of one."""

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

from pisam.config.schema import Config, StageConfig, stage_config, to_plain
from pisam.core.errors import PisamError
from pisam.core.processes import announced_to_children, serve_starter, waiting_for_peers
from pisam.training.logging.jsonl_logger import JsonLinesLogger
from pisam.training.logging.throughput import Throughput
from pisam.training.logging.wandb_logger import StageRun, read_run_id
from pisam.training.resume.checkpoint_io import VerifiedCheckpointIO
from pisam.training.run_folder import stage_dir


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
