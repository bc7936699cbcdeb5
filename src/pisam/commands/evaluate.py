"""Score trained models and baselines on data.val or data.test, or a folder of predicted masks.

    pisam evaluate [EXPERIMENT] [models=LIST] [checkpoint=FILE] [sets=val|test] [predictions=true] [out=DIR]
                   [key=value ...]
    pisam evaluate predictions=DIR masks=DIR out=DIR [name=MODEL] [set=NAME] [workers=N] [ignore=VALUE]

The second form scores any folder of 8-bit masks, named like the true ones, without a model.

group: Measure
models=LIST: some of [sam,hq,pi,sam1024] (default: what the checkpoints hold)
checkpoint=FILE: a file or run, or [several,of,them] (default: the run's own)
sets=val|test: evaluate on data.val or on data.test (default: val)
predictions=WHICH: true saves what was scored; a folder is scored in place of a model
out=DIR: in place of RUN_DIR/evaluate
masks=DIR: the true masks
name=MODEL: of the model, in tables (default: the folder's name)
set=NAME: of the data set, in tables (default: the name of the folder of masks)
workers=N: processes that score a folder (default: 0)
ignore=VALUE: of pixels of the true masks that count for no score; false where there are none
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pisam.commands.shared.begin import begin
from pisam.commands.shared.command import Arguments, as_list
from pisam.config.schema import Config
from pisam.core.checks import refuse_reserved
from pisam.core.errors import PisamError, nearest
from pisam.core.files import write_json
from pisam.core.terminal import progress
from pisam.core.types import Batch, UInt8Array
from pisam.data.reading.reader import read_image
from pisam.evaluation.evaluate import Levels, evaluate_segmenters, rescore_folder
from pisam.evaluation.models import NativeSam, compared_models, model_facts
from pisam.evaluation.parallel import gather, own_share
from pisam.evaluation.predictions import save_prediction
from pisam.evaluation.results import (
    SCORING,
    ScoredImage,
    begin_results,
    printed_table,
    refuse_foreign_folder,
    write_results,
    write_tables,
)
from pisam.modeling.segmenters import Segmenter
from pisam.training.from_config import build_data
from pisam.training.preflight import alone_in
from pisam.training.trainer import launch_ranks

FOLDER_KEYS = ("predictions", "masks", "out", "name", "set", "workers", "ignore")


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of an evaluation of trained models."""

    # out of sam, hq, pi and sam1024; empty for what the checkpoints hold, or else the run's own
    models: Sequence[str] = ()
    checkpoints: Sequence[Path] = ()  # files or run folders; empty for the run's own
    sets: str = "val"  # evaluate on data.val or data.test
    predictions: bool = False  # also save what was scored, as 8-bit PNG
    out: Path | None = None  # in place of RUN_DIR/evaluate


def is_folder_evaluation(given: dict[str, str]) -> bool:
    """True where the keys ask for a folder of predictions to be scored, without a model."""
    predictions = given.get("predictions", "true")
    if predictions not in ("true", "false") and predictions.lower() in ("true", "false"):
        raise PisamError(f"predictions={predictions}: did you mean {predictions.lower()}?")
    return "masks" in given or predictions not in ("true", "false")


def folder_options(given: dict[str, str]) -> dict[str, Any]:
    """The arguments of `rescore_folder`, from predictions=DIR masks=DIR out=DIR [name=...] [set=...] ...

    Raises:
        PisamError: an unknown or missing key, or a wrong value.
    """
    for key in given:
        if key not in FOLDER_KEYS:
            raise PisamError(
                f"evaluate predictions=DIR: unknown key {key}; expected {', '.join(FOLDER_KEYS)}"
                f"{nearest(key, FOLDER_KEYS)}"
            )
    for key in ("predictions", "masks", "out"):
        if not given.get(key):
            raise PisamError(f"evaluate: {key}=DIR is missing; expected predictions=DIR masks=DIR out=DIR")
    predictions, masks = Path(given["predictions"]), Path(given["masks"])
    set_name = given.get("set") or masks.resolve().name
    refuse_reserved(set_name, "evaluate: set")
    return {
        "predictions": predictions,
        "masks": masks,
        "out": Path(given["out"]),
        "name": given.get("name") or predictions.resolve().name,
        "set_name": set_name,
        "workers": int(given.get("workers", "0")),
        "ignore": ignored_value(given.get("ignore")),
    }


def ignored_value(given: str | None) -> int | None:
    """What ignore= says, as `Source.ignore`; raises PisamError: no such value."""
    value = int(given) if given and given.isdecimal() and len(given) < 6 else 0
    if given not in (None, "false") and not 1 <= value <= 65535:
        raise PisamError(f"ignore={given}: expected the value of ignored mask pixels, 1 to 65535, or false")
    return None if given is None else value or -1


def evaluate_options(given: dict[str, str]) -> EvaluateOptions:
    """The options of an evaluation of models; raises PisamError: a wrong value."""
    return EvaluateOptions(
        models=as_list("models", given.get("models", "[]")),
        checkpoints=[Path(path) for path in as_list("checkpoint", given.get("checkpoint", "[]"))],
        sets=given.get("sets", "val"),
        predictions=given.get("predictions") == "true",
        out=Path(given["out"]) if given.get("out") else None,
    )


def run(arguments: Arguments) -> None:
    """Evaluate models, or a folder of masks."""
    own = arguments.own
    if not is_folder_evaluation(own):
        config, options = arguments.config(), evaluate_options(own)
        reads = config.data.val if options.sets == "val" else config.data.test
        folder = options.out or Path(config.run_dir) / "evaluate"
        begin(config, "evaluate", reads=reads, writes=folder)
        with alone_in(folder):
            return evaluate(config, options)
    if arguments.experiment:
        raise PisamError(f"evaluate predictions=DIR: needs no experiment, got {arguments.experiment}")
    chosen = folder_options(own | dict(argument.split("=", 1) for argument in arguments.overrides))
    with alone_in(chosen["out"]):
        print(printed_table({chosen["name"]: rescore_folder(**chosen)}), flush=True)
    return None


def evaluate(config: Config, options: EvaluateOptions | None = None) -> None:
    """Score straight-forward masks of one or several models on whole data sets.

    Writes `per_image.csv`, `table.md`, `table.tex` and `summary.json` to `RUN_DIR/evaluate`, replacing those
    of an earlier evaluation; of several models the scores of each to a folder below it. Saved predictions are
    `predictions/SET/IMAGE.png` beside the scores.

    Raises:
        PisamError: no checkpoint, or one of another model; no data; a damaged file, after the images scored
            so far were written as partial.
    """
    options = options or EvaluateOptions()
    entries = config.data.val if options.sets == "val" else config.data.test
    if not entries:
        raise PisamError(f"data.{options.sets}: no set to evaluate on; name at least one")
    folder = options.out or Path(config.run_dir) / "evaluate"
    refuse_foreign_folder(folder, key="out")
    segmenters = compared_models(config, options.models, options.checkpoints)
    data = build_data(replace(config, data=replace(config.data, val=entries)), 1)
    data.setup("validate")
    pairs = data.val_pairs
    names = list(pairs)

    fabric = launch_ranks(config)
    folders = {s.name: folder / kind if len(segmenters) > 1 else folder for kind, s in segmenters.items()}
    entry_facts = {"data": [dict(e) if not isinstance(e, str) else e for e in entries]}
    saved = {"predictions": "predictions" if options.predictions else None}
    facts = {s.name: _facts(config, s) | entry_facts | saved for s in segmenters.values()}
    if fabric.is_global_zero:
        begin_results(folder, {}, len(names))
        for name, where in folders.items():
            begin_results(where, facts[name], len(names))
    for segmenter in segmenters.values():
        segmenter.model.to(fabric.device)

    def original(set_name: str, image: str) -> UInt8Array:
        return read_image(pairs[set_name, image].image)

    def keep(model: str, set_name: str, image: str, levels: Levels) -> None:
        save_prediction(levels, folders[model] / "predictions", set_name, image)

    loader = data.val_dataloader_of(own_share(range(len(names)), fabric.global_rank, fabric.world_size))
    with progress(len(loader), "evaluate", shown=fabric.is_global_zero) as bar, fabric.autocast():
        own, failure = _until_error(
            evaluate_segmenters(
                list(segmenters.values()),
                _counted(map(fabric.to_device, loader), bar),
                original=original,
                workers=config.data.workers,
                keep=keep if options.predictions else None,
            )
        )
    images, failures = gather(own), [text for text in gather([failure]) if text]
    if fabric.is_global_zero:
        position = {name: index for index, name in enumerate(names)}
        images.sort(key=lambda image: position[image.set, image.image])
        summaries = {
            name: write_results(
                where, [i for i in images if i.model == name], facts[name], expected=len(names)
            )
            for name, where in folders.items()
        }
        if not failures:
            write_tables(folder, summaries)
            if len(summaries) > 1:
                write_json(
                    {"status": "complete", "images": len(names), "models": summaries}, folder / "summary.json"
                )
            print(printed_table(summaries), flush=True)
    if failures:
        raise PisamError(failures[0])


def _counted(batches: Iterable[Batch], bar: tqdm) -> Iterator[Batch]:
    """The batches, each counted when the next one is asked for."""
    for number, batch in enumerate(batches, start=1):
        bar.set_description_str(f"evaluate, image {number} of {bar.total}", refresh=False)
        yield batch
        bar.update()


def _until_error(scored: Iterable[ScoredImage]) -> tuple[list[ScoredImage], str | None]:
    """The scored images, and the message of the error that ended it: other ranks wait for both."""
    images: list[ScoredImage] = []
    try:
        images.extend(scored)
    except PisamError as error:
        return images, str(error)
    return images, None


def _facts(config: Config, segmenter: Segmenter | NativeSam) -> dict[str, Any]:
    known = model_facts(config, segmenter)
    return {"model": segmenter.name} | known | {"protocol": {**known["protocol"], **SCORING}}
