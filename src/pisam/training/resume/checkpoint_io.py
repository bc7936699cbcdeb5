"""Checkpoint files: whole or not there, checked after writing, nothing executed; which one is the best."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import CheckpointIO

from pisam.core.errors import PisamError
from pisam.core.files import refuse_damaged, replacing, sealed
from pisam.modeling.checkpoint import read_own_checkpoint

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
NEEDED_TO_RESUME = ("loops", "callbacks", "optimizer_states", "lr_schedulers")


def write_checkpoint(contents: dict[str, Any], path: Path) -> None:
    """Write and check a checkpoint; of `last.ckpt`, what was there becomes `previous.ckpt`.

    At every moment, also when the process is killed, each of both names is absent or a whole checkpoint.

    Raises:
        PisamError: the disk is full, the folder is not writable, or the file differs from what was written;
            what was there before is untouched.
    """
    buffer = io.BytesIO()
    torch.save(contents, buffer)  # in memory first: torch's own writer hides why a disk refused
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            file.writelines(sealed(buffer.getbuffer()))
        refuse_damaged(temporary)
        if path.name == LAST and path.is_file():
            _keep(path)


def newest_good(folder: Path) -> tuple[Path | None, list[str]]:
    """The checkpoint of a stage to resume from.

    Returns:
        `last.ckpt`, or `previous.ckpt` where the first is absent or damaged, or None where there is neither;
        and what is wrong with the damaged one.

    Raises:
        PisamError: there are checkpoints, but none is usable.
    """
    damages: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.is_file():
            continue
        try:
            contents = read_own_checkpoint(path)
            missing = [key for key in NEEDED_TO_RESUME if key not in contents]
            if missing:
                raise PisamError(f"checkpoint {path}: cannot be resumed from, it has no {missing[0]}")
        except PisamError as error:
            damages.append(str(error))
        else:
            return path, damages
    if damages:
        raise PisamError(
            f"{'; '.join(damages)}. No checkpoint is left to resume from: remove {folder} to begin the stage "
            "again"
        )
    return None, []


def set_aside(path: Path) -> None:
    """Rename a damaged checkpoint, so that it is neither lost nor kept as the previous good one."""
    with suppress(FileNotFoundError):
        os.replace(path, path.with_name(f"{path.name}.damaged"))


class VerifiedCheckpointIO(CheckpointIO):
    """Lightning's way to the functions above."""

    def __init__(self) -> None:
        self.failure: str | None = None
        self._agreeing = False

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write on the rank that Lightning chose."""
        try:
            write_checkpoint(checkpoint, Path(path))
        except PisamError as error:
            if not self._agreeing:
                raise
            self.failure = str(error)

    def load_checkpoint(
        self, path: str | Path, map_location: Callable | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read to main memory; never anything but tensors and plain values, whatever the arguments are."""
        return read_own_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a file, if it is there."""
        Path(path).unlink(missing_ok=True)

    @contextmanager
    def agreeing(self, trainer: Trainer) -> Iterator[None]:
        """Inside, every rank calls `trainer.save_checkpoint`; its error, of rank 0, is raised on all of them.

        Raised on rank 0 alone, it would leave the others waiting for it.
        """
        self.failure, self._agreeing = None, True
        try:
            yield
        finally:
            self._agreeing = False
        failure = trainer.strategy.broadcast(self.failure)
        if failure is not None:
            raise PisamError(failure)


def _keep(last: Path) -> None:
    """A second name for `last.ckpt`, so that there is no moment without it."""
    temporary = last.with_name(f".{PREVIOUS}.{os.getpid()}.tmp")
    try:
        os.link(last, temporary)
        os.replace(temporary, last.with_name(PREVIOUS))
    except OSError:  # a file system without hard links
        os.replace(last, last.with_name(PREVIOUS))
    finally:
        with suppress(OSError):
            temporary.unlink()  # renaming one name of a file to another of its names does nothing


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint of the best validation.

    Where rank 0 cannot write, all ranks raise. A run whose folder was moved remembers its best score.

    Args:
        folder: where `best.ckpt` is kept.
        monitor: the score whose largest value is the best.
    """

    def __init__(self, folder: Path, *, monitor: str) -> None:
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor=monitor,
            mode="max",
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with _checkpoint_io(trainer).agreeing(trainer):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with _checkpoint_io(trainer).agreeing(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before, now = str(state_dict["dirpath"]), str(self.dirpath)
        moved = {
            name: value.replace(before, now, 1) if isinstance(value, str) else value
            for name, value in state_dict.items()
        }
        scores = state_dict["best_k_models"].items()
        moved["best_k_models"] = {path.replace(before, now, 1): score for path, score in scores}
        super().load_state_dict(moved)


def _checkpoint_io(trainer: Trainer) -> VerifiedCheckpointIO:
    checkpoint_io = trainer.strategy.checkpoint_io
    assert isinstance(checkpoint_io, VerifiedCheckpointIO)
    return checkpoint_io
