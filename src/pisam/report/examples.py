"""One image of a benchmark with everything that is shown of it, and the small pictures of it on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from pisam.core.drawing import REGION_COLOURS, error_regions, fitted, shrunk_regions
from pisam.core.errors import PisamError
from pisam.core.types import BoolArray, Click, UInt8Array
from pisam.data.reading.targets import read_pair
from pisam.data.sources.pairs import Pair
from pisam.evaluation.interaction.click_file import ClickedImage
from pisam.evaluation.predictions import read_prediction
from pisam.metrics.functional import KnownMask, region_scores
from pisam.metrics.protocol import OBJECT_ABOVE
from pisam.report.results import AGAIN, ROUNDING, Interaction

TIMES = ("before", "after")


@dataclass(frozen=True)
class Answer:
    """A model's answers on an image."""

    before: BoolArray  # bool (H, W), its mask of the box
    after: BoolArray  # bool (H, W), its mask after the clicks
    iou_before: float  # of the former
    iou_after: float  # of the latter


@dataclass(frozen=True)
class Files:
    """The files of an example, and the scores that its masks must have."""

    pair: Pair  # image and true mask
    masks: Path  # folder of the benchmark's masks
    clicked: ClickedImage  # the image's entry in the click file
    given: int  # how many of its clicks lie between before and after
    scores: Mapping[str, tuple[float, float]]  # model -> IoU before and after


@dataclass(frozen=True)
class Example:
    """An image at its original size."""

    name: str  # SET/IMAGE
    photo: UInt8Array  # uint8 (H, W, 3) RGB
    mask: BoolArray  # bool (H, W), the true one
    clicks: tuple[Click, ...]  # those that were given, in pixels of the image
    answers: Mapping[str, Answer]  # by model


def example_files(results: Interaction, pairs: Mapping[tuple[str, str], Pair]) -> list[Files]:
    """The files of every image of a benchmark, in the order of its click file.

    Args:
        results: of the benchmark.
        pairs: of the validation sets, by (set, image).

    Raises:
        PisamError: an image is in none of the sets; names it.
    """
    scores: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    for row in results.rows:
        of_image = scores.setdefault((str(row["set"]), str(row["image"])), {})
        of_image[str(row["model"])] = float(row["iou_before"]), float(row["iou_after"])
    files = []
    for image in results.clicks.images:
        key = image.set, image.image
        if key not in pairs:
            raise PisamError(
                f"report: {'/'.join(key)} was clicked and is not in data.val; give the sets that "
                f"{results.folder} was measured on"
            )
        ordered = {model: scores[key][model] for model in results.models}
        files.append(Files(pairs[key], results.folder / "masks", image, results.given, ordered))
    return files


def read_example(files: Files) -> Example:
    """Read an image, its true mask and all answers.

    Raises:
        PisamError: a file is missing or damaged, has another size, or a mask is not the one that was scored.
    """
    pair, clicked = files.pair, files.clicked
    photo, labels = read_pair(pair)
    mask = labels.mask
    true = KnownMask(mask)
    answers = {}
    for model, scores in files.scores.items():
        before, after = (
            _read_answer(files.masks / model / when / clicked.set / f"{clicked.image}.png", true, mask, score)
            for when, score in zip(TIMES, scores, strict=True)
        )
        answers[model] = Answer(before, after, *scores)
    name = f"{clicked.set}/{clicked.image}"
    return Example(name, photo, mask, clicked.clicks[: files.given], answers)


def _read_answer(path: Path, true: KnownMask, mask: BoolArray, score: float) -> BoolArray:
    if not path.is_file():
        raise PisamError(f"{path}: not there any more; {AGAIN} again")
    answer: BoolArray = read_prediction(path) > OBJECT_ABOVE
    if answer.shape != mask.shape:
        raise PisamError(
            f"{path}: {answer.shape[1]} x {answer.shape[0]} pixels, its image here has "
            f"{mask.shape[1]} x {mask.shape[0]}; give the data that was measured, or {AGAIN} again"
        )
    iou = region_scores(answer, true, boundary=False)["iou"]
    if abs(iou - score) > ROUNDING:
        raise PisamError(
            f"{path}: its IoU is {iou:.4f} here and {score:.4f} in per_image.csv: the mask or the data are "
            f"of another run; {AGAIN} again"
        )
    return answer


def sets_in_turn(files: Sequence[Files], number: int) -> list[Files]:
    """At most `number` of them: the first of every set, then the second of every set, and so on."""
    by_set: dict[str, list[Files]] = {}
    for one in files:
        by_set.setdefault(one.clicked.set, []).append(one)
    in_turn = [one for round_ in zip_longest(*by_set.values()) for one in round_ if one is not None]
    return in_turn[:number]


LONGEST = 1024  # pixels of the longer side; what is larger is shown smaller
OPACITY = (0, 120, 215, 215)  # of the regions of `error_regions`
QUALITY = 85


def write_pictures(files: Files, folder: Path) -> None:
    """Write the pictures of an example into a new folder.

    They are `photo.jpg`, `mask.png`, and for model k, counted from 0, the regions `k-before.png` and
    `k-after.png` with a transparent background.

    Raises:
        PisamError: see `read_example`.
    """
    example = read_example(files)
    folder.mkdir(parents=True)
    height, width = example.mask.shape
    size = fitted(width, height, LONGEST)
    photo = Image.fromarray(example.photo).resize(size, Image.Resampling.LANCZOS)
    photo.save(folder / "photo.jpg", quality=QUALITY, optimize=True)
    mask = Image.fromarray(example.mask * np.uint8(255)).resize(size, Image.Resampling.BOX)
    mask.quantize(16).save(folder / "mask.png")
    for number, answer in enumerate(example.answers.values()):
        for when in TIMES:
            _save_regions(getattr(answer, when), example.mask, size, folder / f"{number}-{when}.png")


def _save_regions(answer: BoolArray, mask: BoolArray, size: tuple[int, int], path: Path) -> None:
    """Four colours take two bits a pixel: a few ten KB, where RGBA takes several hundred."""
    picture = Image.fromarray(shrunk_regions(error_regions(answer, mask), size)).convert("P")
    picture.putpalette([level for colour in REGION_COLOURS for level in colour])
    picture.save(path, bits=2, transparency=bytes(OPACITY))
