"""Where the stages of a run keep everything."""

from __future__ import annotations

from pathlib import Path

from pisam.config.schema import Config
from pisam.core.errors import PisamError


def stage_dir(config: Config, number: int) -> Path:
    """Where a stage keeps everything."""
    return Path(config.run_dir) / f"stage{number}"


def stage1_checkpoint(config: Config) -> Path:
    """What stage 2 starts from: `stage2.from`, or the best checkpoint of this run's stage 1.

    Raises:
        PisamError: it is not there.
    """
    given = config.stage2.from_
    if found := _checkpoint_in(Path(given or config.run_dir)):
        return found
    raise PisamError(
        f"stage 2 needs a trained stage 1, and {'stage2.from' if given else 'run_dir'} "
        f"{given or config.run_dir} holds none: run stage 1 first, or name a checkpoint with stage2.from=..."
    )


def decoder_checkpoint(config: Config) -> Path | None:
    """What stage 1 goes on from, where it does not begin anew: `stage1.from`.

    Raises:
        PisamError: it is not there.
    """
    if not (given := config.stage1.from_):
        return None
    if found := _checkpoint_in(Path(given)):
        return found
    raise PisamError(f"stage1.from: {given} is no checkpoint, and no run that holds one")


def _checkpoint_in(source: Path) -> Path | None:
    """A checkpoint itself, or the best one of a run or stage."""
    candidates = [source, source / "checkpoints/best.ckpt", source / "stage1/checkpoints/best.ckpt"]
    return next((path for path in candidates if path.is_file()), None)
