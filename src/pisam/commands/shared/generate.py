"""The generated sets of the quick start, written on first use."""

from __future__ import annotations

from pathlib import Path

from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.data.generated.sets import write_quickstart


def generate_data(config: Config) -> None:
    """Write the generated sets below `data.root` where they are missing, if `data.generate` asks for them.

    Raises:
        PisamError: the image size is too small for them.
    """
    if config.data.generate and config.data.root:
        size = config.model.image_size
        if size < 256:
            raise PisamError(f"model.image_size: data.generate needs at least 256, got {size}")
        write_quickstart(Path(config.data.root), image_size=size)
