"""The loggers of a stage: a line of JSON for each number, and a W&B run whose faults end no training."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from pisam.core.errors import PisamError
from pisam.core.files import shown, write_text, writing
from pisam.core.provenance import environment, git_diff
from pisam.training.resume.ranks import from_every_rank

log = logging.getLogger(__name__)


class JsonLinesLogger(Logger):
    """Appends `{"step": ..., "train/loss": ...}` lines to a file, whose folder must exist."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return "jsonl"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # Closed, hence flushed, line by line.
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def size(self) -> int:
        """Bytes of all lines so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def sync(self) -> None:
        """Have the lines on the disk before a checkpoint counts them."""
        if self.path.exists():
            with writing(self.path), self.path.open("ab") as file:
                os.fsync(file.fileno())

    def rewind(self, size: int) -> None:
        """Remove the lines after the first `size` bytes: the steps that wrote them are taken again."""
        if self.size() < size:
            log.warning("%s: lines are missing, it is shorter than when the run was saved", self.path)
        elif self.size() > size:
            with writing(self.path):
                os.truncate(self.path, size)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is saved beside the file."""


def new_run_id(folder: Path) -> None:
    """Choose one for a stage that begins; an attempt that left no checkpoint behind is another run."""
    write_text(secrets.token_hex(4) + "\n", folder / "wandb_id")


def read_run_id(folder: Path) -> str | None:
    """The one of a stage that has begun with W&B; raises PisamError: the file holds something else."""
    path = folder / "wandb_id"
    if not path.is_file():
        return None
    id_ = path.read_bytes()[:100].decode("utf-8", "replace").strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id_):
        raise PisamError(f"{path}: expected the id of a W&B run, got {shown(id_)}; restore it, or remove it")
    return id_


X_AXIS = "trainer/global_step"
DIFF = "git.diff"


class Dashboard(Callback):
    """Sends W&B once the meaning of the curves and the base of the run.

    Args:
        scores: names of the validation scores, without `val/`; of each the largest value is the summary.
    """

    def __init__(self, scores: Sequence[str]) -> None:
        self.summaries = {
            **{f"val/{name}": "max" for name in scores},
            "train/loss": "min",
            "train/grad_norm": "max",
            "perf/memory_gb": "max",
            "perf/images_per_second": "mean",
            "perf/step_ms": "mean",
            "perf/data_wait": "mean",
        }

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        devices = from_every_rank(trainer, _device_name(pl_module.device))
        tell_wandb(trainer, lambda run: self._describe(run, devices))

    def _describe(self, run: Any, devices: list[str]) -> None:
        run.define_metric(X_AXIS)
        for name, summary in self.summaries.items():
            run.define_metric(name, step_metric=X_AXIS, summary=summary)
        run.config.update({"environment": {**environment(), "devices": devices}}, allow_val_change=True)
        if diff := git_diff():
            path = Path(run.dir) / DIFF
            path.write_text(diff, encoding="utf-8")
            run.save(str(path), base_path=run.dir, policy="now")


def last_step(trainer: Trainer) -> int:
    """The step under which Lightning logs a validation: steps are counted from 0."""
    return trainer.global_step - 1


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


SECONDS_TO_FINISH = 120.0  # to wait for a server that is gone; what is not uploaded stays on disk
SECONDS_UNTIL_WRITTEN = 1.0  # of rows that a SIGKILL can cost W&B's file; its own default is 15


class StageRun(WandbLogger):
    """Lightning's logger with explicit mode and time limits, not left to the environment.

    W&B shows a training, while metrics.jsonl and the checkpoints keep it: so what fails there is told, each
    thing once, and the training goes on.

    Args:
        folder: of the stage; all that W&B writes lies below it, also what it prepares for upload.
        mode: offline or online.
        config: everything the numbers depend on, in plain values.
        options: name, project, group, job_type and tags, as `wandb.init` takes them.
    """

    def __init__(self, folder: Path, *, mode: str, config: dict[str, Any], **options: Any) -> None:
        if not os.environ.get("WANDB_MODE", "-"):
            del os.environ["WANDB_MODE"]  # set but empty, it is an error to W&B
        os.environ.setdefault("WANDB_DATA_DIR", str((folder / "wandb").resolve()))
        super().__init__(
            save_dir=folder,
            offline=mode == "offline",
            mode=mode,
            config=config,
            settings={
                "finish_timeout": os.environ.get("WANDB_FINISH_TIMEOUT", SECONDS_TO_FINISH),
                "x_transaction_log_flush_interval": SECONDS_UNTIL_WRITTEN,
            },
            **options,
        )
        self._wandb_init.pop("anonymous", None)  # W&B warns of it, whatever its value
        self._warned_of: set[str] = set()

    def begin(self) -> None:
        """Begin the run, offline where the server does not answer.

        Raises:
            PisamError: no account, one that the server refuses, or W&B cannot work here at all.
        """
        import wandb

        try:
            _ = self.experiment
        except Exception as error:  # its process that does not start raises anything: OSError, ...
            reason, mode = " ".join(str(error).split()), self._wandb_init["mode"]
            if self._offline or not isinstance(error, wandb.errors.Error):
                raise PisamError(
                    f"logging.mode={mode}: W&B cannot begin a run: {type(error).__name__}: {reason}; "
                    "mend that, or set logging.mode=disabled"
                ) from error
            if _is_refusal(error):
                raise PisamError(
                    f"logging.mode=online: W&B says: {reason}; run `wandb login`, or set "
                    "logging.mode=offline and upload with `wandb sync` later"
                ) from error
            log.warning("W&B does not answer: %s", reason)
            wandb.teardown()  # its process still holds the run that did not begin
            self._offline, self._wandb_init["mode"] = True, "offline"
            log.warning("logging offline into %s; upload it with `wandb sync` later", self.experiment.dir)

    @rank_zero_only
    def tell(self, what: Callable[[Any], object]) -> None:
        """Call `what` with the W&B run."""
        try:
            what(self.experiment)
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if reason not in self._warned_of:
                self._warned_of.add(reason)
                log.warning("W&B: %s; training goes on, metrics.jsonl has every number", reason)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        log_metrics = super().log_metrics
        self.tell(lambda run: log_metrics(metrics, step))


def tell_wandb(trainer: Trainer, what: Callable[[Any], object]) -> None:
    """Call `what` with the trainer's W&B run, on rank 0, where there is one."""
    for logger in _stage_runs(trainer.loggers):
        logger.tell(what)


def begin_logging(loggers: Sequence[Logger]) -> None:
    """Begin the W&B run, if there is one, now rather than amid the first step: see `StageRun.begin`."""
    for logger in _stage_runs(loggers):
        logger.begin()


def finish_logging(loggers: Sequence[Logger]) -> None:
    """End the W&B run, if there is one, so that the next stage of this process begins one of its own."""
    for logger in _stage_runs(loggers):
        logger.tell(lambda run: run.finish())


def _stage_runs(loggers: Sequence[Logger]) -> list[StageRun]:
    return [logger for logger in loggers if isinstance(logger, StageRun)]


def _is_refusal(error: Exception) -> bool:
    """True where the server, or W&B before it asked, declined; else there was no answer."""
    from wandb.errors import AuthenticationError, UsageError

    return isinstance(error, AuthenticationError | UsageError) or bool(
        re.search(r"returned error 4\d\d", str(error))
    )
