"""The callbacks of a stage."""

from __future__ import annotations

from lightning.pytorch import Callback

from pisam.config.schema import Config, decisive_settings, simulation_of, stage_config
from pisam.core.errors import PisamError, nearest
from pisam.core.provenance import git_revision
from pisam.metrics.protocol import Protocol
from pisam.training.callbacks.click_simulation import ClickSimulation
from pisam.training.callbacks.ends import CheckpointArtifacts, EarlyStop, FinalValidation, RunSummary
from pisam.training.callbacks.first_steps import FirstSteps, MemoryCheck
from pisam.training.callbacks.guards import FiniteLoss, FirstError, TrainabilityGuard
from pisam.training.callbacks.mask_panels import MaskPanels
from pisam.training.callbacks.scores import ImageScores, InteractionIoU, SegmentationIoU, ValidationScores
from pisam.training.callbacks.weight_average import WeightAverage
from pisam.training.features.feature_store import FeatureStore
from pisam.training.features.frozen_features import FrozenFeatures, StoredEncodings, StoredFeatures
from pisam.training.logging.throughput import Throughput
from pisam.training.logging.wandb_logger import Dashboard
from pisam.training.resume.checkpoint_io import LAST, BestCheckpoint
from pisam.training.resume.last_checkpoint import LastCheckpoint
from pisam.training.resume.preemption import Preemption, TimeLimit
from pisam.training.resume.ranks import SameStart
from pisam.training.run_folder import stage1_checkpoint, stage_dir
from pisam.training.stages.stage import Stage

MONITOR = {1: "val/iou", 2: "val/iou_after"}


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
    monitor = monitored(config, number, scores)
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
            CheckpointArtifacts(
                checkpoints,
                name=f"{config.logging.group}-stage{number}",
                start=start,
            ),
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
