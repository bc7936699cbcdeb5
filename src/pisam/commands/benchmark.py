"""Enter models in the number-of-clicks benchmark; each gets a file that others can compare with theirs.

    pisam benchmark [EXPERIMENT] [models=LIST] [images=DIR] [masks=DIR] [set=NAME] [ignore=VALUE]
        [out=DIR] [prompt=clicks|points|box] [user=ritm|human] [clicks=N] [seed=N] [jitter=PIXELS]
        [delay=N] [limit=SECONDS] [like=FILE] [checkpoint=LIST] [workers=N] [key=value ...]

models=LIST: sam, sam+mask, hq, hq+mask, pi of the experiment (default: [sam,sam+mask,pi]); FILE.py:CLASS, a
    class of your own, which is run; transformers:DIR, onnx:DIR (+mask: told its last mask too); masks:DIR.
images=DIR: images to click on, without an experiment.
masks=DIR: their masks, of the same stems.
set=NAME: what the images are called in results (default: the folder's name).
ignore=VALUE: of pixels of the masks that count neither way, or false (default: that of a known set).
out=DIR: where NAME.json of each model goes (default: RUN_DIR/benchmark/PROTOCOL).
prompt=clicks|points|box: the first click alone, random points of the object, or its box (default: clicks).
user=ritm|human: who clicks: the deepest point of the error, or near where people click (default: ritm).
clicks=N: the most an image gets (default: 20).
seed=N: of points and people (default: 0).
jitter=PIXELS: how far people miss (default: 5).
delay=N: people look at the answer of so many clicks ago (default: 0).
limit=SECONDS: the most that an answer may take.
like=FILE: the protocol and the images of somebody's results; other or changed images are refused.
checkpoint=LIST: of Pi-SAM and HQ-SAM, in place of the experiment's own.
workers=N: threads that score beside the models (default: 0).

The same command goes on where it was ended. Exit code 1 if any image has no scores.

group: Measure
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pisam.commands.evaluate import ignored_value
from pisam.commands.shared.command import Arguments
from pisam.config.schema import Config
from pisam.core.checks import refuse_reserved
from pisam.core.errors import PisamError
from pisam.core.files import local_path
from pisam.core.terminal import one_line, progress
from pisam.data.sources.known_sets import KNOWN_SETS
from pisam.data.sources.pairs import Matched, match_without_gaps
from pisam.data.sources.rows import Source, published_pairs, resolve_sources
from pisam.evaluation.benchmark.enter import Item, enter, hashes_of, open_entry, refuse_changed
from pisam.evaluation.benchmark.entrant import LONGEST_LIMIT
from pisam.evaluation.benchmark.entrants import entrants_of
from pisam.evaluation.benchmark.interaction_file import read_interaction
from pisam.evaluation.benchmark.leaderboard import curves
from pisam.evaluation.benchmark.record import ClickProtocol, Interaction
from pisam.evaluation.parallel import gather, own_share, threads_beside
from pisam.evaluation.rows import TableLine, text_table
from pisam.metrics.functional import DILATION_RATIO
from pisam.metrics.number_of_clicks import heading, seconds_per_click, summarise
from pisam.training.preflight import alone_in
from pisam.training.trainer import launch_ranks

DEFAULT_MODELS = ("sam", "sam+mask", "pi")


def run(arguments: Arguments) -> int:
    """Enter the models that the arguments name."""
    own = dict(arguments.own)
    like = read_interaction(local_path(own.pop("like"), "like")) if "like" in own else None
    protocol = protocol_of(own, ClickProtocol() if like is None else like.protocol)
    names = _list(own.get("models", "")) or list(DEFAULT_MODELS)
    checkpoints = [local_path(path, "checkpoint") for path in _list(own.get("checkpoint", ""))]
    config = None
    if "images" in own or "masks" in own:
        if arguments.experiment or arguments.overrides:
            raise PisamError("benchmark: give an experiment, or images=DIR masks=DIR, not both")
        for key in ("images", "masks", "out", "models"):
            if key not in own:
                raise PisamError(
                    f"benchmark: {key}=... is missing beside {'masks' if key == 'images' else 'images'}=DIR"
                )
        images = Path(own["images"]).absolute()  # wherever the models, which run in here, go
        name = own.get("set") or images.resolve().name
        refuse_reserved(name, "benchmark: set")
        ignore = ignored_value(own.get("ignore"))
        if ignore is None and name in KNOWN_SETS:
            ignore = KNOWN_SETS[name].ignore
        sources = [Source(name, images, Path(own["masks"]).absolute(), ignore=ignore)]
    else:
        if given := own.keys() & {"set", "ignore"}:
            raise PisamError(
                f"benchmark: {min(given)}= goes with images=DIR masks=DIR; change the row of data.val"
            )
        config = arguments.config()
        sources = sources_of(config)
    out = (
        Path(own["out"])
        if "out" in own
        else Path(config.run_dir if config else ".") / "benchmark" / protocol.id
    )
    limit = _number("limit", own["limit"]) if "limit" in own else None
    if limit is not None and not 0 < limit <= LONGEST_LIMIT:
        raise PisamError(f"limit={own['limit']}: expected seconds, more than 0, at most {LONGEST_LIMIT}")
    workers, out = arguments.number("workers", 0, 0), out.absolute()
    with alone_in(out):
        return benchmark(
            names,
            sources,
            protocol,
            out,
            config,
            checkpoints=checkpoints,
            limit=limit,
            workers=workers,
            like=like,
        )


def sources_of(config: Config) -> list[Source]:
    """The sets of data.val; raises PisamError: there is none, or one that is not found."""
    if not config.data.val:
        raise PisamError("data.val: no set to click on; name at least one, or give images=DIR masks=DIR")
    root = None if config.data.root is None else Path(config.data.root).absolute()
    return resolve_sources(config.data.val, root, training=False)


def benchmark(
    names: Sequence[str],
    sources: Sequence[Source],
    protocol: ClickProtocol,
    out: Path,
    config: Config | None = None,
    *,
    checkpoints: Sequence[Path] = (),
    limit: float | None = None,
    workers: int = 0,
    like: Interaction | None = None,
) -> int:
    """Ask the models about all images, on all ranks; write and print it. Returns 1 if any has no scores."""
    matched = [(source, match_without_gaps(source)) for source in sources]
    items: list[Item] = [(source.name, pair) for source, found in matched for pair in found.pairs]
    ignore = {source.name: value for source in sources if (value := source.ignore or 0) > 0}
    if protocol.boundary_dilation_ratio != DILATION_RATIO:
        ratio = protocol.boundary_dilation_ratio
        raise PisamError(
            f"like: its boundary_dilation_ratio is {ratio}; boundary IoU is of {DILATION_RATIO} alone"
        )
    if like is not None:
        _refuse_other_sets(like, {source.name for source in sources}, ignore)
        ignore = dict(like.ignore)
        asked = {(image.set, image.image) for image in like.images}
        asked |= {(failure.set, failure.image) for failure in like.failed}
        items = [item for item in items if (item[0], item[1].id) in asked]
    scenes = hashes_of(items)
    for image in like.images if like is not None else ():
        refuse_changed(image, scenes, "like")
    order = [(name, pair.id) for name, pair in items]
    sets = dict(like.sets) if like else {source.name: _expected(source, items) for source in sources}
    fabric = None if config is None else launch_ranks(config)
    device = "cpu" if fabric is None else fabric.device
    rank, ranks = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
    entrants = entrants_of(names, config, checkpoints, device)
    entries = [open_entry(entrant, out, protocol, sets, scenes, ignore) for entrant in entrants]
    share = own_share(items, rank, ranks)
    try:
        with progress(len(share), "benchmark", shown=rank == 0) as bar, threads_beside(workers) as threads:
            enter(entries, share, order, scenes, threads, limit=limit, on_image=bar.update, save=ranks == 1)
    finally:
        for entry in entries if ranks == 1 else []:
            entry.save(order)
    for entry in entries if ranks > 1 else []:
        everyone = {(image.set, image.image): image for image in gather(entry.record.images)}
        entry.record.images = list(everyone.values())
        entry.record.failed = gather(entry.record.failed)
        if rank == 0:
            entry.save(order)
    if rank == 0:
        print(results_table([entry.record for entry in entries]))
        for source, found in matched:
            _print_left_out(source, found)
        for entry in entries:
            _print_gaps(entry.record)
            print(f"{entry.record.status}: {entry.path}")
    return int(any(entry.record.status != "complete" for entry in entries))


def _refuse_other_sets(like: Interaction, names: set[str], ignore: Mapping[str, int]) -> None:
    """Refuse a file of sets that are called otherwise here, or whose masks ignore another value."""
    for name in like.sets:
        if name not in names:
            called = ", ".join(sorted(names))
            raise PisamError(f"like: its set is called {name}, here {called}; give set={name}, or so in data")
        if (there := like.ignore.get(name)) != (now := ignore.get(name)):
            raise PisamError(
                f"like: of {name} it ignores the mask value {there}, here {now}; give ignore=, or in data"
            )


def _print_left_out(source: Source, found: Matched) -> None:
    for text in found.left_out:
        print(one_line(text))
    if found.unused and source.names is None:  # else the list of names says which are wanted
        number, first = len(found.unused), found.unused[0].name
        print(one_line(f"{source.masks}: {number} masks without image left out ({first})"))


def protocol_of(own: dict[str, str], base: ClickProtocol) -> ClickProtocol:
    """The protocol that the arguments say, from `base` where they say nothing.

    Raises:
        PisamError: a value that is none.
    """
    changes: dict[str, Any] = {key: own[key] for key in ("prompt", "user") if key in own}
    for key in ("clicks", "seed", "jitter", "delay"):
        if key in own:
            number = _number(key, own[key])
            changes[key] = int(number) if key != "jitter" and number.is_integer() else number
    return replace(base, **changes)


def results_table(records: Sequence[Interaction]) -> str:
    """A line per model: NoC, NoF, IoU after 1, 5 and all clicks, area under the curve, seconds a click."""
    lines: list[TableLine] = []
    columns: dict[str, None] = {}
    scores = []
    for record in records:
        ious, first = curves(record) if record.images else (None, 1)
        scores.append({} if ious is None else summarise(ious, first=first))
        columns |= dict.fromkeys(scores[-1])
    for record, means in zip(records, scores, strict=True):
        seconds = seconds_per_click([image.seconds for image in record.images])
        lines.append([record.name, len(record.images), *(means.get(key) for key in columns), seconds])
    return text_table([["model", "images", *map(heading, columns), "s/click"], *lines])


def _print_gaps(record: Interaction) -> None:
    for failure in record.failed:
        print(one_line(f"{record.name}: no scores for {failure.set}/{failure.image}: {failure.reason}"))
    if record.missing > len(record.failed):
        have = ", ".join(
            f"{sum(image.set == name for image in record.images)} of {number} images of {name}"
            for name, number in record.sets.items()
        )
        print(f"{record.name}: {have}")


def _expected(source: Source, items: Sequence[Item]) -> int:
    """Number of images of a set: as published, where that is known."""
    return published_pairs(source) or sum(name == source.name for name, _ in items)


def _list(text: str) -> list[str]:
    return [
        part.strip() for part in text.strip().removeprefix("[").removesuffix("]").split(",") if part.strip()
    ]


def _number(key: str, text: str) -> float:
    plain = re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?", text)
    if not plain or not math.isfinite(number := float(text)):
        raise PisamError(f"{key}={text:.40}: expected a number")
    return number
