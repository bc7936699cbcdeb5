"""Train one stage of an experiment, from its first step or from where it was interrupted.

    pisam train [EXPERIMENT] stage=1|2 [sweep=NAME] [key=value ...]

group: Train
stage=1|2: 1 for the High-Resolution Mask Decoder, 2 for the Precise Interactor on top of a trained stage 1
sweep=NAME: as W&B's agents pass it: the trial gets a folder of its own below runs/sweeps/NAME
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from lightning.pytorch import seed_everything
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from pisam.commands.shared.begin import begin, generate_data
from pisam.commands.shared.command import Arguments
from pisam.config.load import load_config, save_config
from pisam.config.schema import Config, decisive_settings, training_sources
from pisam.core.checks import refuse_no_folder
from pisam.core.errors import PisamError
from pisam.core.files import read_object, refuse_unwritable, sweep_temporaries
from pisam.core.lock import Lock
from pisam.core.processes import announced_to_children, keep_memory, waiting_for_peers
from pisam.core.provenance import git_revision
from pisam.evaluation.rows import TableLine, text_table
from pisam.modeling.checkpoint import read_own_checkpoint
from pisam.training.from_config import (
    build_data,
    build_stage,
    check_stage,
    compile_network,
    keys_without_effect,
    open_store,
    refuse_other_stage1,
)
from pisam.training.logging.loggers import begin_logging, finish_logging, new_run_id
from pisam.training.preflight import alone_in, checking, job, wait_for_rank_0
from pisam.training.resume.checkpoint_io import LAST, PREVIOUS, newest_good, set_aside
from pisam.training.resume.last_checkpoint import KEY, refuse_other_samples
from pisam.training.resume.preemption import (
    EXIT_CODE,
    SECONDS_TO_CLOSE_LOGS,
    Preemption,
    TimeLimit,
    leave_soon,
    leaving_when_told,
    raise_if_interrupted,
)
from pisam.training.resume.ranks import leave_together
from pisam.training.run_folder import best_checkpoint, refuse_in_the_way, stage_dir
from pisam.training.trainer import build_callbacks, build_loggers, build_trainer

KEPT_ON_CPU = 2**30  # bytes of a step's memory that stay for the next one


def run(arguments: Arguments) -> None:
    """Train the stage that the arguments name."""
    folder = []
    if name := arguments.own.get("sweep"):
        if not (trial := os.environ.get("WANDB_RUN_ID")):
            raise PisamError(
                "sweep=NAME is for trials that W&B's agents start; see pisam sweep FILE local=true"
            )
        refuse_no_folder(name, "train: sweep")
        refuse_no_folder(trial, "WANDB_RUN_ID")
        folder = [f"run_dir={Path('runs') / 'sweeps' / name / trial}"]
    config, number = arguments.config(*folder), int(arguments.own["stage"])
    reads = [*training_sources(config, number), *config.data.val]
    begin(config, f"train stage {number}", reads=reads, writes=stage_dir(config, number))
    if unused := keys_without_effect(config):
        _say(f"  HQ-SAM makes no use of {', '.join(unused)}")
    train(config, number)


@leaving_when_told()
def train(config: Config, number: int) -> None:
    """Train a stage, resume it where it was interrupted, or report that it is complete.

    Raises:
        PisamError: bad input, found before the first step; or another process writes to this run.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    check_stage(config, number)
    folder = stage_dir(config, number)
    refuse_in_the_way(folder)
    if number == 2 and not config.stage2.from_:
        _refuse_unfinished_stage_1(config)
    if (folder / "summary.json").is_file():
        root, now = _refuse_another_run(config, number, folder).data.root, config.data.root
        if number == 2 and (best := best_checkpoint(folder)):
            refuse_other_stage1(config, best)
        _say(f"stage {number} of {config.run_dir} is complete")
        if os.path.realpath(root or "") != os.path.realpath(now or ""):
            _say(f"note: it was trained and scored with data.root {root}, not {now}")
        print_table(config)
        return
    with alone_in(folder) as lock:
        _train(config, number, lock)


def _train(config: Config, number: int, lock: Lock | None) -> None:
    """Train a stage that is not complete; rank 0 holds the lock of its folder."""
    folder = stage_dir(config, number)
    summary, checkpoints = folder / "summary.json", folder / "checkpoints"
    begun = any((checkpoints / name).is_file() for name in (LAST, PREVIOUS))
    if begun:
        _refuse_another_run(config, number, folder)
    generate_data(config)
    seed_everything(config.seed, workers=False)
    if not config.data.val:
        raise PisamError("data.val: no set to validate on; name at least one")
    data = build_data(config, number)
    with checking("data: looking for images and masks"):
        data.setup("fit")
    resume = _point_to_resume(checkpoints)
    saved = {} if resume is None else read_own_checkpoint(resume)
    samples = (saved.get(KEY) or {}).get("samples")
    refuse_other_samples(resume, samples, data.samples)
    if resume is not None and number == 2:
        refuse_other_stage1(config, resume)
    with checking("network: loading and hashing SAM's weights") as found:
        stage = build_stage(config, number)
        found.append(f"{config.model.backbone}, frozen part {stage.model.frozen_hash()[:12]}")
    with checking("data: reading files that no audit knows yet"):
        rank_zero_only(data.check_files)()
    refuse_other_samples(resume, samples, data.samples)  # by their contents, too
    store = open_store(config, number, stage.model, data)
    if config.trainer.compile:
        compile_network(stage.model)
    if resume:
        _say(f"resuming stage {number} from {resume}")
        rank_zero_only(save_config)(config, folder / "config.yaml")  # what it goes on with
    else:
        _start_afresh(config, folder)
    if lock is None:
        wait_for_rank_0(folder, minutes=config.trainer.timeout)
    else:
        lock.announce(job=job(), ready=True)
    callbacks = build_callbacks(config, number, stage, data.counts, store)
    facts = {**stage.model.identity(), **git_revision(), "samples": data.counts}
    loggers = build_loggers(config, number, facts)
    if config.logging.mode != "disabled":
        with checking(f"W&B: beginning a run, {config.logging.mode}"):
            begin_logging(loggers)
    trainer = build_trainer(config, number, callbacks, loggers)
    if trainer.strategy.root_device.type == "cpu":
        keep_memory(KEPT_ON_CPU)
    raise_if_interrupted()
    try:
        with announced_to_children(), waiting_for_peers(SECONDS_TO_CLOSE_LOGS):
            trainer.fit(stage, datamodule=data, ckpt_path=resume and str(resume), weights_only=True)
    except SIGTERMException:  # told to go before the first step
        leave_together(trainer, EXIT_CODE)
    except SystemExit as exit_:
        if exit_.code == EXIT_CODE:
            leave_soon()
        if trainer.interrupted and exit_.code == 1:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from exit_
        raise
    finish_logging(loggers)
    raise_if_interrupted()
    if trainer.is_global_zero and summary.is_file():
        print_table(config)
    else:
        timed = any(callback.reached for callback in callbacks if isinstance(callback, TimeLimit))
        where = "stopped at trainer.max_time" if timed else "stopped early"
        steps = f"after {trainer.global_step} of {trainer.estimated_stepping_batches:g} steps"
        _say(f"stage {number} {where} {steps}; the same command continues it")
    if any(callback.agreed for callback in callbacks if isinstance(callback, Preemption)):
        leave_together(trainer, EXIT_CODE)


def print_table(config: Config) -> None:
    """The scores of the stages that are complete, and where their pictures are."""
    lines: list[TableLine] = [["stage", "IoU", "boundary IoU", "before", "after", "gain", "boundary gain"]]
    pictures = []
    for number in (1, 2):
        path = stage_dir(config, number) / "summary.json"
        if not path.is_file():
            continue
        summary = read_object(path, "", {"best": dict}, nan=True)
        names = ["iou", "biou"] if number == 1 else ["iou_after", "biou_after"]
        names += ["iou_before", "iou_after", "iou_gain", "biou_gain"]
        scores = [summary["best"].get(f"val/{name}") for name in names]
        pictures.append(summary.get("pictures"))
        right = all(s is None or (isinstance(s, int | float) and -1 <= s <= 1) for s in scores)
        if not right or not isinstance(pictures[-1], str | None):
            raise PisamError(
                f"{path}: expected scores under best, and a folder or null as pictures; restore it"
            )
        lines.append([number, *scores])
    _say(f"\n{text_table(lines)}\npictures: {', '.join(filter(None, pictures)) or 'none'}")


@rank_zero_only
def _start_afresh(config: Config, folder: Path) -> None:
    """The first thing that a run writes; what an attempt without any checkpoint left behind gives way."""
    save_config(config, folder / "config.yaml")
    (folder / "metrics.jsonl").unlink(missing_ok=True)
    (folder / "wandb_id").unlink(missing_ok=True)
    if config.logging.mode != "disabled":
        new_run_id(folder)


def _point_to_resume(checkpoints: Path) -> Path | None:
    """The checkpoint to continue from, if any; a damaged `last.ckpt` is named, and set aside."""
    path, damages = newest_good(checkpoints)
    if path is not None:
        _tidy(checkpoints, [f"WARNING: {damage}; continuing from {path}" for damage in damages])
    return path


@rank_zero_only
def _tidy(checkpoints: Path, warnings_: list[str]) -> None:
    refuse_unwritable(checkpoints)
    sweep_temporaries(checkpoints.parent)
    sweep_temporaries(checkpoints)
    for warning in warnings_:
        print(warning, file=sys.stderr, flush=True)
        set_aside(checkpoints / LAST)


def _refuse_unfinished_stage_1(config: Config) -> None:
    folder = stage_dir(config, 1)
    begun = (folder / "checkpoints" / LAST).is_file()
    if begun and not (folder / "summary.json").is_file():
        raise PisamError(
            f"stage 1 in {folder} was begun and is not complete: run stage=1 again, which continues it, or "
            "name a checkpoint with stage2.from=..."
        )


def _refuse_another_run(config: Config, number: int, folder: Path) -> Config:
    """The configuration that a run was begun with, which must be this one in what decides numbers."""
    saved = folder / "config.yaml"
    try:
        begun = load_config(saved)
    except PisamError as error:
        raise PisamError(f"{saved}: not readable as the configuration of this run: {error}") from error
    before, now = decisive_settings(begun, number), decisive_settings(config, number)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise PisamError(
                f"{saved}: this run was started with {key}={before.get(key)}, now it is {now.get(key)}; "
                "choose another run_dir, or remove the old one"
            )
    return begun


@rank_zero_only
def _say(text: str) -> None:
    print(text, flush=True)
