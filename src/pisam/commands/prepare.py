"""Copy an experiment's training data to data.prepared, smaller and many times faster to read.

    pisam prepare [EXPERIMENT] data.prepared=DIR [key=value ...]

group: Data
"""

from __future__ import annotations

from pathlib import Path

from pisam.commands.shared.begin import generate_data
from pisam.commands.shared.command import Arguments
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.data.audit.prepared import prepare_source
from pisam.data.sources.rows import longest_parts, resolve_sources
from pisam.evaluation.rows import TableLine, text_table


def run(arguments: Arguments) -> None:
    """Prepare the training data of both stages."""
    prepare_data(arguments.config())


def prepare_data(config: Config) -> None:
    """Fill `data.prepared` with a copy of every training source of both stages and print what was done.

    Raises:
        PisamError: no folder or no source is named, or a pair cannot be read.
    """
    if config.data.prepared is None:
        raise PisamError("prepare: data.prepared names no folder to write to; add data.prepared=DIR")
    generate_data(config)
    folder, root = Path(config.data.prepared), config.data.root
    rows = (config.data.train, config.stage1.train or [], config.stage2.train or [])
    sources = longest_parts(source for part in rows for source in resolve_sources(part, root, training=True))
    if not sources:
        raise PisamError("prepare: data.train names no source; name at least one")
    lines: list[TableLine] = [["source", "made", "up to date"]]
    for source in sources:
        done = prepare_source(source, folder)
        lines.append([source.name, done.made, done.kept])
    print(f"{text_table(lines)}\nin {folder}; training with data.prepared={folder} reads it", flush=True)
