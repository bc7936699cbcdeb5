"""From a configuration to objects: the only place that knows both."""

from __future__ import annotations

import os
import subprocess
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy

from pisam.callbacks.best_checkpoint import BestCheckpoint
from pisam.callbacks.checkpoint_artifacts import CheckpointArtifacts
from pisam.callbacks.click_simulation import ClickSimulation
from pisam.callbacks.dashboard import Dashboard
from pisam.callbacks.early_stop import EarlyStop
from pisam.callbacks.final_validation import FinalValidation
from pisam.callbacks.finite_loss import FiniteLoss
from pisam.callbacks.first_error import FirstError
from pisam.callbacks.first_steps import FirstSteps
from pisam.callbacks.gradient_norm import GradientNorm
from pisam.callbacks.image_scores import ImageScores
from pisam.callbacks.interaction_iou import InteractionIoU
from pisam.callbacks.jsonl_logger import JsonLinesLogger
from pisam.callbacks.last_checkpoint import LastCheckpoint
from pisam.callbacks.mask_panels import MaskPanels
from pisam.callbacks.memory_check import MemoryCheck
from pisam.callbacks.preemption import Preemption
from pisam.callbacks.run_summary import RunSummary
from pisam.callbacks.same_start import SameStart
from pisam.callbacks.segmentation_iou import SegmentationIoU
from pisam.callbacks.throughput import Throughput
from pisam.callbacks.trainability import TrainabilityGuard
from pisam.callbacks.validation_scores import ValidationScores
from pisam.callbacks.wandb_logger import wandb_logger
from pisam.callbacks.weight_average import WeightAverage
from pisam.checkpoint_io import LAST, VerifiedCheckpointIO
from pisam.config import Config, StageConfig, to_plain, training_sources
from pisam.config_checks import nearest
from pisam.data.datamodule import PairDataModule
from pisam.data.prompts import PromptMix
from pisam.errors import PisamError
from pisam.metrics.protocol import Protocol
from pisam.modeling.hq_sam import HqSam, build_hq_sam
from pisam.modeling.pisam import PiSam, build_model, load_checkpoint, read_own_checkpoint
from pisam.modeling.sam_network import SamNetwork
from pisam.run_id import read_run_id
from pisam.stages.decoder_stage import DecoderStage
from pisam.stages.hq_stage import HqStage
from pisam.stages.interactor_stage import InteractorStage
from pisam.stages.stage import Stage

MONITOR = {1: "val/iou", 2: "val/iou_after"}


def stage_dir(config: Config, number: int) -> Path:
    """Where a stage keeps everything."""
    return Path(config.run_dir) / f"stage{number}"


def stage_config(config: Config, number: int) -> StageConfig:
    """The section of a stage."""
    return config.stage1 if number == 1 else config.stage2


def monitored(config: Config, number: int, scores: ValidationScores) -> str:
    """The score that makes a validation of the stage the best.

    Raises:
        PisamError: no validation gives it.
    """
    monitor = stage_config(config, number).monitor or MONITOR[number]
    names = [f"val/{name}" for name in scores.scores.names]
    if monitor not in names:
        known = f"there are {', '.join(names)}{nearest(monitor, names)}"
        raise PisamError(f"stage{number}.monitor: no score {monitor}; {known}")
    return monitor


def build_network(config: Config) -> PiSam:
    """Pi-SAM with SAM's weights, its own parts initialised from the seed."""
    torch.manual_seed(config.seed)
    return build_model(config.model.backbone, config.model.weights, config.model.image_size)


def build_hq_network(config: Config) -> HqSam:
    """HQ-SAM with SAM's weights, its own parts initialised from the seed."""
    torch.manual_seed(config.seed)
    return build_hq_sam(config.model.backbone, config.model.weights, config.model.image_size)


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
    return InteractorStage(model, lr=config.stage2.lr, high_res=loss.high_res, bce=loss.bce, dice=loss.dice)


def compile_network(model: SamNetwork) -> None:
    """Have torch compile the parts at their first use, in place: the names of their weights stay."""
    for part in model.children():
        part.compile()
    if isinstance(model, PiSam):
        model.decoder.head.compile()  # stage 2 calls it on its own


def stage1_checkpoint(config: Config) -> Path:
    """What stage 2 starts from: `stage2.from`, or the best checkpoint of this run's stage 1.

    Raises:
        PisamError: it is not there.
    """
    source = Path(config.stage2.from_) if config.stage2.from_ else Path(config.run_dir)
    candidates = [source, source / "checkpoints/best.ckpt", source / "stage1/checkpoints/best.ckpt"]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        key = "stage2.from" if config.stage2.from_ else "run_dir"
        raise PisamError(
            f"stage 2 needs a trained stage 1, and {key} {source} holds none: run stage 1 first, "
            "or name a checkpoint with stage2.from=..."
        )
    return found


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
        prompts=PromptMix(**asdict(config.data.prompts)),
        seed=config.seed,
    )


def build_callbacks(config: Config, number: int, stage: Stage, set_names: list[str]) -> list[Callback]:
    """What happens around the steps; Lightning's own for progress, learning rate and checkpoints."""
    folder, schedule = stage_dir(config, number), stage_config(config, number)
    scores = SegmentationIoU(set_names) if number == 1 else InteractionIoU(set_names)
    monitor = monitored(config, number, scores)
    facts = {
        "name": config.name,
        "stage": number,
        "seed": config.seed,
        **stage.model.identity(),
        **git_revision(),
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
        clicks = config.clicks
        own.insert(
            0,
            ClickSimulation(
                policy=clicks.policy,
                max_clicks=clicks.max_clicks,
                min_area=clicks.min_area,
                margin=clicks.margin,
                connectivity=clicks.connectivity,
                cache=config.stage2.views > 0,
            ),
        )
    if schedule.ema is not None:
        own.append(WeightAverage(schedule.ema))
    if schedule.early_stop is not None:
        own.append(EarlyStop(monitor=monitor, patience=schedule.early_stop))
    if config.logging.images:
        own.append(MaskPanels(folder / "pictures", set_names, config.logging.images))
    checkpoints = folder / "checkpoints"
    if schedule.max_steps > 0:
        own.append(FinalValidation(schedule.max_steps))
    if config.logging.mode != "disabled":
        start = None if number == 1 else stage1_checkpoint(config)
        own += [
            Dashboard(scores.scores.names),
            ImageScores(scores, spread="iou" if number == 1 else "iou_gain"),
            CheckpointArtifacts(
                checkpoints,
                name=f"{config.logging.group}-stage{number}",
                start=start,
            ),
        ]
    return [
        LastCheckpoint(checkpoints / LAST, seconds=config.trainer.save_seconds),  # must be the first
        Preemption(),  # right behind it
        FirstError(),
        SameStart(),
        *own,
        LearningRateMonitor("step"),
        GradientNorm(),
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


def build_loggers(config: Config, number: int, facts: dict[str, Any]) -> list[Logger]:
    """`metrics.jsonl`, and one W&B run per stage in one group, offline unless told otherwise."""
    folder = stage_dir(config, number)
    loggers: list[Logger] = [JsonLinesLogger(folder / "metrics.jsonl")]
    if config.logging.mode != "disabled":
        loggers.append(
            wandb_logger(
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
    return loggers


def finish_logging(config: Config) -> None:
    """End the W&B run, so that the next stage of this process begins one of its own."""
    if config.logging.mode != "disabled":
        import wandb

        wandb.finish()


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
        max_time=options.max_time,
        accumulate_grad_batches=schedule.accumulate,
        **duration(schedule),
        callbacks=callbacks,
        logger=loggers,
        profiler=next((c.profiler for c in callbacks if isinstance(c, Throughput)), None),
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        default_root_dir=config.run_dir,
    )


def build_fabric(config: Config) -> Fabric:
    """One device and the precision of training, for what runs outside of a trainer."""
    precision: Any = config.trainer.precision
    return Fabric(accelerator=config.trainer.accelerator, devices=1, precision=precision)


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
    fabric.launch()
    return fabric


def duration(schedule: StageConfig) -> dict[str, Any]:
    """How long to train and when to validate: a run of `max_steps` once, when `FinalValidation` says."""
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
    return DDPStrategy(
        broadcast_buffers=False, find_unused_parameters=unused, timeout=timedelta(minutes=timeout)
    )


def cluster_environment() -> list[ClusterEnvironment]:
    """SLURM without Lightning's own requeueing: `Preemption` saves, the job's script requeues."""
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        return [SLURMEnvironment(auto_requeue=False)]
    return []


def git_revision() -> dict[str, str]:
    """Revision of the working directory's repository, `-dirty` if changed since; empty outside of one."""
    try:
        revision = subprocess.check_output(["git", "rev-parse", "HEAD"], stderr=subprocess.DEVNULL, text=True)
        changed = subprocess.check_output(["git", "status", "--porcelain", "-uno"], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"revision": revision.strip() + ("-dirty" if changed else "")}


def _several(devices: Any) -> bool:
    if devices in ("auto", -1, "-1"):
        return torch.cuda.device_count() > 1
    return len(devices) > 1 if isinstance(devices, list) else int(devices) > 1
