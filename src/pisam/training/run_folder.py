"""The folders of a run's stages, and the checkpoints in them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.core.files import refuse_folders
from pisam.training.resume.checkpoint_io import LAST, PREVIOUS

log = logging.getLogger(__name__)


def stage_dir(config: Config, number: int) -> Path:
    """The folder of a stage."""
    return Path(config.run_dir) / f"stage{number}"


def refuse_in_the_way(folder: Path) -> None:
    """Raise PisamError where a folder stands in the place of one of a stage's files."""
    refuse_folders(
        *(folder / name for name in ("config.yaml", "summary.json", "metrics.jsonl", "wandb_id")),
        *(folder / "checkpoints" / name for name in ("best.ckpt", LAST, PREVIOUS)),
    )


def stage1_checkpoint(config: Config) -> Path:
    """The checkpoint that stage 2 starts from: `stage2.from`, or the best of this run's stage 1."""
    given = config.stage2.from_
    if found := best_checkpoint(Path(given or config.run_dir)):
        return found
    raise PisamError(
        f"stage 2 needs a trained stage 1, and {'stage2.from' if given else 'run_dir'} "
        f"{given or config.run_dir} holds none: run stage 1 first, or name a checkpoint with stage2.from=..."
    )


def decoder_checkpoint(config: Config) -> Path | None:
    """The checkpoint that stage 1 goes on from, where it does not begin anew: `stage1.from`."""
    if not (given := config.stage1.from_):
        return None
    if found := best_checkpoint(Path(given)):
        return found
    raise PisamError(f"stage1.from: {given} is no checkpoint, and no run that holds one")


def best_checkpoint(source: Path, stages: Sequence[int] = (1,)) -> Path | None:
    """The file itself, or the best checkpoint of a stage's folder, or of the first of `stages` of a run.

    Where that stage is not complete it is said.
    """
    folders = [source, *(source / f"stage{number}" for number in stages)]
    candidates = [source, *(folder / "checkpoints" / "best.ckpt" for folder in folders)]
    found = next((path for path in candidates if path.is_file()), None)
    if found is not None:
        _say_where_incomplete(found)
    return found


@cache
def _say_where_incomplete(checkpoint: Path) -> None:
    """Another one may be the best when the run is over: its scores would not be those of now."""
    if checkpoint.with_name("last.ckpt").is_file():
        stage = checkpoint.parent.parent
        if not (stage / "summary.json").is_file():
            what = "its best" if checkpoint.name == "best.ckpt" else "what it saved last"
            log.warning("%s: not complete; %s is %s so far", stage, checkpoint.name, what)
