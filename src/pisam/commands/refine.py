"""Repair somebody else's masks by clicks; pictures that are done are skipped.

    pisam refine [MODEL] images=DIR masks=DIR out=DIR [clicks=FILE|truth=DIR] [rounds=N]
            [image_size=N] [workers=N] [devices=N] [overwrite=true]

MODEL: a checkpoint (.ckpt, .safetensors), a run's folder, or one that pisam export wrote (default: the
trained model of the repository, else the quick start's run).

group: Use
images=DIR: pictures, or one
masks=DIR: the masks to repair, by the names of the pictures
out=DIR: mask/NAME.png; with truth also per_image.csv, a row per picture and number of clicks
clicks=FILE: .csv with the columns image,x,y,label (1 = object), or what pisam interact wrote
truth=DIR: true masks; clicks are simulated, each in the middle of the largest error that is left
rounds=N: simulated clicks (default: 10)
image_size=N: side of the frame (default: that of its training); 1024 shows more than 512, and takes longer
workers=N: threads that read, and as many that write (default: 2)
devices=N: GPUs (default: 1)
overwrite=true|false: begin anew and replace what is there
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pisam.clicks.components import clicked_errors, error_map
from pisam.clicks.policies import centre_click
from pisam.commands.predict import refuse_other_size
from pisam.commands.shared.command import Arguments
from pisam.commands.shared.folders import Job, Record, content_of, list_pictures, say_left_out, work_through
from pisam.commands.shared.models import load_engines
from pisam.commands.shared.prompt_files import Clicks, read_click_file
from pisam.core.errors import PisamError
from pisam.core.files import write_bytes
from pisam.core.locality import iou
from pisam.core.lock import holding
from pisam.core.types import BoolArray, Click, UInt8Array
from pisam.data.reading.reader import read_given, read_image, read_mask
from pisam.evaluation.rows import write_csv
from pisam.predictor import formats
from pisam.predictor.engine import Engine
from pisam.predictor.interactive import InteractivePredictor

TABLE = "per_image.csv"
COLUMNS = ("image", "clicks", "iou_before", "iou_after", "oracle")
CONNECTIVITY = 8


@dataclass(frozen=True)
class Given:
    """A picture with a mask to repair."""

    stem: str
    image: Path
    mask: Path
    truth: Path | None
    clicks: Clicks

    @property
    def reads(self) -> list[Path]:
        """Its files."""
        return [self.image, self.mask, *filter(None, [self.truth])]


@dataclass
class Repair:
    """The repaired mask, and a row of the table per click."""

    given: Given
    mask: BoolArray
    rows: list[dict[str, Any]] = field(default_factory=list)


class Repairer(InteractivePredictor):
    """A predictor that can be told all clicks before it says what the mask is."""

    def click_all(self, clicks: Sequence[Click]) -> BoolArray:
        """The mask after several clicks, one after the other."""
        self._session.click_all(clicks)
        return self.mask


def run(arguments: Arguments) -> None:
    """Repair each mask and print what the clicks changed."""
    options, out = arguments.own, arguments.path("out")
    if ("clicks" in options) == ("truth" in options):
        raise PisamError("refine: expected clicks=FILE, or truth=DIR for simulated clicks")
    rounds = arguments.number("rounds", 10)
    workers, devices = arguments.number("workers", 2), arguments.number("devices", 1)
    pairs = _pairs(arguments)
    engines = load_engines(arguments, devices)
    settings = {"command": "refine", "model": engines[0].model_identity(), "rounds": rounds}
    settings |= {key: options.get(key) for key in ("images", "masks", "clicks", "truth")}
    settings["prompts"] = content_of(options.get("clicks"))
    jobs = [Job(pair.stem, pair.reads, [out / "mask" / f"{pair.stem}.png"]) for pair in pairs]
    with holding(out):
        record = Record(
            out,
            settings,
            jobs,
            partial(_is_row, rounds=rounds if "truth" in options else 0),
            also=[out / TABLE] if "truth" in options else [],
            overwrite=options.get("overwrite") == "true",
        )
        _repair_all(pairs, engines, record, out, rounds=rounds, workers=workers)
    print(out)


def _repair_all(
    pairs: list[Given], engines: list[Engine], record: Record, out: Path, *, rounds: int, workers: int
) -> None:
    rest = [pair for pair in pairs if pair.stem not in record.rows]
    if done := len(pairs) - len(rest):
        print(f"{done} of {len(pairs)} pictures are done already")

    def write(repair: Repair) -> None:
        write_bytes(formats.mask_png(repair.mask), out / "mask" / f"{repair.given.stem}.png")
        record.add({"image": repair.given.stem, "rows": repair.rows})

    def answer(engine: Engine, read: tuple[Any, ...]) -> Repair:
        return _repair(Repairer(engine), *read, rounds=rounds)

    try:
        work_through(rest, engines, _read, answer, write, workers=workers, what="refine")
    finally:
        rows = [row for pair in pairs if pair.stem in record.rows for row in record.rows[pair.stem]["rows"]]
        if rows:
            write_csv(rows, out / TABLE)
    if rows:
        print(summary(rows))


def _is_row(row: dict[str, Any], *, rounds: int) -> bool:
    """True where what an earlier run noted of a picture can be what this one would have noted."""
    rows = row.get("rows")
    return (
        isinstance(rows, list)
        and all(isinstance(each, dict) and each.keys() == {*COLUMNS} for each in rows)
        and [(each["image"], each["clicks"]) for each in rows]
        == [(row["image"], clicks) for clicks in range(1, rounds + 1)]
        and all(type(each[column]) in (int, float) for each in rows for column in COLUMNS[1:])
        and all(0 <= each[column] <= 1 for each in rows for column in COLUMNS[2:])
    )


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Mean IoU over the pictures before, and after each number of clicks, beside its oracle."""
    lines = ["clicks  IoU before  IoU after    gain  oracle's gain  lowest gain"]
    for clicks in sorted({row["clicks"] for row in rows}):
        before, after, oracle = (
            np.array([row[column] for row in rows if row["clicks"] == clicks]) for column in COLUMNS[2:]
        )
        lines.append(
            f"{clicks:6}  {before.mean():10.4f}  {after.mean():9.4f}  {(after - before).mean():+.4f}  "
            f"{(oracle - before).mean():+13.4f}  {(after - before).min():+11.4f}"
        )
    return "\n".join(lines)


def _pairs(arguments: Arguments) -> list[Given]:
    """The pictures with a mask to repair; each has its mask, and its true mask where there are some."""
    options, out = arguments.own, arguments.path("out")
    folders: dict[str, dict[str, Path]] = {}
    for key in ("images", "masks", "truth"):
        if key in options:
            images = folders.get("images", {})
            folders[key] = list_pictures(arguments.path(key), key, but=out, like=images)
    clicks: dict[str, Clicks] = {}
    if "clicks" in options:
        clicks = read_click_file(arguments.path("clicks"), folders["images"])
    for key in folders:
        if without := [stem for stem in folders["images"] if stem not in folders[key]]:
            raise PisamError(
                f"{key} {options[key]}: none for {len(without)} pictures ({', '.join(without[:3])}); "
                "expected the names of the pictures; add them, or take the pictures out"
            )
        strangers = sorted(folders[key].keys() - folders["images"].keys())
        say_left_out(f"files of {key}, of which no picture is here", strangers)
    return [
        Given(
            stem,
            image,
            folders["masks"][stem],
            folders.get("truth", {}).get(stem),
            clicks.get(stem, Clicks()),
        )
        for stem, image in folders["images"].items()
    ]


def _read(given: Given) -> tuple[Given, UInt8Array, BoolArray, BoolArray | None]:
    """Picture, mask and true mask; raises PisamError: one is unreadable, or the sizes differ."""
    pixels = read_image(given.image)
    mask = read_given(given.mask)
    refuse_other_size(mask.shape, pixels.shape, given.mask)
    given.clicks.refuse_outside(pixels.shape[1], pixels.shape[0], str(given.image))
    if given.truth is None:
        return given, pixels, mask, None
    truth = read_mask(given.truth)
    refuse_other_size(truth.shape, pixels.shape, given.truth)
    return given, pixels, mask, truth


def _repair(
    predictor: Repairer,
    given: Given,
    pixels: UInt8Array,
    mask: BoolArray,
    truth: BoolArray | None,
    *,
    rounds: int,
) -> Repair:
    """Clicks of the file, or one after the other in the middle of the largest error."""
    predictor.set_image(pixels)
    now = predictor.set_mask(mask)
    if truth is None:
        return Repair(given, predictor.click_all(given.clicks.points))
    repair, before, oracle = Repair(given, now), iou(mask, truth), mask
    for clicks in range(1, rounds + 1):
        errors = error_map(now ^ truth, truth)
        # None where nothing is wrong.
        for x, y, label in centre_click(errors, connectivity=CONNECTIVITY).tolist():
            click = (x + 0.5, y + 0.5, label)
            oracle = np.where(clicked_errors(now, truth, [click], CONNECTIVITY), truth, oracle)
            now = predictor.click(*click[:2], bool(label))
        ious = before, iou(now, truth), iou(oracle, truth)
        repair.rows.append(dict(zip(COLUMNS, (given.stem, clicks, *ious), strict=True)))
    repair.mask = now
    return repair
