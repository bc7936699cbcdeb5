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
