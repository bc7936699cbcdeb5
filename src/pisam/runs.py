"""What the verbs of the command line do."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import OmegaConf

from pisam import build
from pisam.config import Config, save_config, to_plain
from pisam.data.synthetic import write_quickstart
from pisam.errors import PisamError
from pisam.files import replacing

log = logging.getLogger(__name__)
# Keys that may change between the parts of one run: they say where and how fast, not what.
FREE_KEYS = ("trainer", "logging", "data.root", "data.workers", "model.weights", "run_dir")


def train(config: Config, number: int) -> None:
    """Train a stage, resume it where it was interrupted, or say that it is complete.

    Raises:
        PisamError: bad input, found before the first step.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _quiet_libraries()
    folder = build.stage_dir(config, number)
    saved, last = folder / "config.yaml", folder / "checkpoints" / "last.ckpt"
    if saved.is_file():
        _refuse_another_run(config, number, saved)
    if (folder / "summary.json").is_file():
        _say(f"stage {number} of {config.run_dir} is complete")
        print_table(config)
        return

    if config.data.generate and config.data.root:
        write_quickstart(Path(config.data.root), image_size=config.model.image_size)
    seed_everything(config.seed, workers=False)
    data = build.build_data(config, number)
    data.setup("fit")
    stage = build.build_stage(config, number)
    if not saved.is_file():
        save_config(config, saved)
    callbacks = build.build_callbacks(config, number, stage, data.set_names)
    loggers = build.build_loggers(config, number, {**stage.model.identity(), **build.git_revision()})
    trainer = build.build_trainer(config, number, callbacks, loggers)
    resume = str(last) if last.is_file() else None
    if resume:
        _say(f"resuming stage {number} from {last}")
    trainer.fit(stage, datamodule=data, ckpt_path=resume, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        print_table(config)


def import_released(checkpoint: Path, out: Path | None = None) -> Path:
    """Write a released checkpoint as one of ours, beside it unless told where.

    Raises:
        PisamError: not a released checkpoint, or the file to write exists already.
    """
    from pisam.modeling.released import import_released as convert

    target = out or checkpoint.with_name(f"{checkpoint.stem}-pisam.ckpt")
    if target.exists():
        raise PisamError(f"import-released: {target} exists already; name another file with out=...")
    contents = convert(checkpoint)
    with replacing(target) as temporary:
        torch.save(contents, temporary)
    return target


def print_table(config: Config) -> None:
    """The scores of the stages that are complete, and where their pictures are."""
    rows = [("stage", "IoU", "boundary IoU", "before", "after", "gain")]
    pictures = []
    for number in (1, 2):
        path = build.stage_dir(config, number) / "summary.json"
        if not path.is_file():
            continue
        summary = json.loads(path.read_text(encoding="utf-8"))
        best = summary["best"]
        after = "" if number == 1 else "_after"
        scores = [best[f"val/iou{after}"], best[f"val/biou{after}"]]
        if number == 2:
            scores += [best["val/iou_before"], best["val/iou_after"], best["val/iou_gain"]]
        rows.append((str(number), *(f"{score:.3f}" for score in scores), *[""] * (5 - len(scores))))
        pictures.append(summary["pictures"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    _say("\n" + "\n".join(lines) + "\npictures: " + ", ".join(pictures))


def _refuse_another_run(config: Config, number: int, saved: Path) -> None:
    before, now = _essence(OmegaConf.to_container(OmegaConf.load(saved)), number), _essence(to_plain(config), number)
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise PisamError(
                f"{saved}: this run was started with {key}={before.get(key)}, now it is {now.get(key)}; "
                "choose another run_dir, or remove the old one"
            )


def _essence(plain: Any, number: int) -> dict[str, Any]:
    """What decides the numbers of a stage, under dotted keys."""
    other = f"stage{3 - number}"
    flat = {}
    for section, value in plain.items():
        for key, item in value.items() if isinstance(value, dict) else [("", value)]:
            dotted = f"{section}.{key}".rstrip(".")
            if section not in (*FREE_KEYS, other) and dotted not in FREE_KEYS:
                flat[dotted] = item
    return flat


@rank_zero_only
def _say(text: str) -> None:
    print(text, flush=True)


def _quiet_libraries() -> None:
    """Advice of libraries that does not concern the user of this package."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
