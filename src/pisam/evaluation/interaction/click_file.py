"""The common error of all models on an image, clicks on it, and clicks.json, by which others replay them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pisam.clicks.simulate import simulate_clicks
from pisam.core.errors import PisamError
from pisam.core.files import read_object, shown, write_json
from pisam.core.seeding import derive_seed
from pisam.core.types import Batch, Click
from pisam.predictor.session import Answer


@dataclass(frozen=True)
class ClickedImage:
    """An image and the clicks that every model of a comparison gets on it."""

    set: str  # name of its data set
    image: str  # its id there
    width: int  # of the original image, in pixels
    height: int  # of the original image, in pixels
    common_area: int  # pixels of the original image where all models err
    # (x, y, label) in pixels of the original image, in the order of clicking; may be empty
    clicks: tuple[Click, ...]


@dataclass(frozen=True)
class Selection:
    """The images of a benchmark, and those that cannot take part."""

    chosen: list[ClickedImage]  # the images with the largest common error, largest first
    without_error: list[ClickedImage]  # images where some model or other is right everywhere
    too_small: list[ClickedImage]  # images whose common error has no component large enough to be clicked


def common_error(predictions: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The pixels where every prediction is wrong: the intersection of the models' error maps.

    A pixel that is wrong is missed or false by the mask alone, so models that all err there err alike.

    Args:
        predictions: bool (H, W) each, at least one.
        mask: bool (H, W).

    Returns:
        bool (H, W).

    Source: supplement C of the Pi-SAM paper; its printed pseudo-code intersects the predictions, a slip.
    """
    return torch.stack([prediction ^ mask for prediction in predictions]).all(dim=0)


def click_common_error(
    answers: Sequence[Answer], batch: Batch, *, seed: int, max_clicks: int, simulation: Mapping[str, Any]
) -> ClickedImage:
    """Draw clicks from the common error on an image, in its original size (supplement C, Algorithm 2).

    Args:
        answers: of the models to the box; where all of them err is the common error.
        batch: the validation sample, one.
        seed: the clicks are a function of (seed, set, image) and the common error.
        max_clicks: the most per image.
        simulation: `min_area`, `margin` and `connectivity` of `simulate_clicks`.
    """
    mask, set_name, image = batch.original_masks[0].cpu(), batch.sets[0], batch.ids[0]
    region = common_error([torch.from_numpy(answer.mask()) for answer in answers], mask)
    clicks = simulate_clicks(
        ~mask[None, None],  # not read where a region is given
        mask[None, None],
        seeds=[derive_seed(seed, "common error", set_name, image)],
        max_clicks=max_clicks,
        region=region[None, None],
        **simulation,
    )
    height, width = mask.shape
    return ClickedImage(
        set=set_name,
        image=image,
        width=width,
        height=height,
        common_area=int(region.count_nonzero()),
        clicks=tuple(clicks.rows(0)),
    )


def select_images(clicked: Sequence[ClickedImage], number: int) -> Selection:
    """The `number` images with the largest common error, fewer where fewer can be clicked.

    Among equals the first of `clicked` comes first.
    """
    clickable = [image for image in clicked if image.clicks]
    return Selection(
        chosen=sorted(clickable, key=lambda image: -image.common_area)[:number],
        without_error=[image for image in clicked if not image.common_area],
        too_small=[image for image in clicked if image.common_area and not image.clicks],
    )


FORMAT = 1
LARGEST_SEED = 2**63 - 1
LARGEST_SIDE = 10**6  # pixels
WHOLE = {"interact.images": 1, "interact.clicks": 1, "interact.rounds": 1, "clicks.connectivity": 4}
"""Settings that are whole numbers, and the least of each."""
FRAME = "pixels of the original image, (x, y) from its upper left corner, pixel centres at +0.5"


@dataclass(frozen=True)
class ClickFile:
    """The content of a click file."""

    images: list[ClickedImage]  # largest common error first
    seed: int  # of the clicks and of the controls made from them
    models: list[str]  # names of the models whose common error was clicked
    settings: dict[str, Any]  # how the clicks were drawn and are used: dotted keys of the configuration


def write_clicks(file: ClickFile, path: Path) -> None:
    """Write a click file, whole or not at all."""
    images = [
        {
            "set": image.set,
            "image": image.image,
            "width": image.width,
            "height": image.height,
            "common_area": image.common_area,
            "clicks": [{"x": x, "y": y, "label": label} for x, y, label in image.clicks],
        }
        for image in file.images
    ]
    head = {"format": FORMAT, "frame": FRAME, "seed": file.seed, "models": file.models}
    write_json({**head, "settings": file.settings, "images": images}, path)


def clicks_hash(file: ClickFile) -> str:
    """SHA-256 of a model's input: the images, their clicks and the seed of the controls."""
    facts = [file.seed, *sorted((image.set, image.image, image.clicks) for image in file.images)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def read_clicks(path: Path) -> ClickFile:
    """Read a click file.

    Raises:
        PisamError: not there, not such a file, or an image or click in it is not as `write_clicks` writes it;
            names the first wrong entry.
    """
    where = f"clicks {path}"
    content = read_object(path, "clicks ")
    if type(content.get("format")) is not int or content["format"] != FORMAT:
        raise PisamError(f'{where}: expected a file of `pisam interact` with "format": {FORMAT}')
    _check_head(content, where)
    images = [_image(entry, f"{where}: images[{row}]") for row, entry in enumerate(content["images"])]
    counts = Counter((image.set, image.image) for image in images)
    if twice := next((name for name, count in counts.items() if count > 1), None):
        raise PisamError(f"{where}: {'/'.join(twice)!r:.80} occurs twice")
    return ClickFile(images, content["seed"], content["models"], content["settings"])


def refuse_other_settings(file: ClickFile, settings: dict[str, Any], keys: Sequence[str], path: Path) -> None:
    """Raise PisamError where one of `keys` is not that of the file: its numbers are of other settings."""
    for key in keys:
        if (theirs := file.settings.get(key)) != settings[key]:
            raise PisamError(
                f"clicks {path}: made with {key}={theirs}, this run has {settings[key]}; add {key}={theirs}"
            )


def _check_head(content: dict[str, Any], where: str) -> None:
    """Raise unless the fields beside the images are what a benchmark can be run with."""
    for key, kind in (("seed", int), ("models", list), ("settings", dict), ("images", list)):
        if type(content.get(key)) is not kind:
            raise PisamError(f"{where}: {key}: expected a {kind.__name__}, got {shown(content.get(key))}")
    if not content["images"]:
        raise PisamError(f"{where}: images: expected at least one, got none")
    if not 0 <= content["seed"] <= LARGEST_SEED:
        raise PisamError(f"{where}: seed: expected 0 to {LARGEST_SEED}, got {shown(content['seed'])}")
    if not all(isinstance(name, str) for name in content["models"]):
        raise PisamError(f"{where}: models: expected names")
    for key, value in content["settings"].items():
        least = WHOLE.get(key)
        if least is not None and (type(value) is not int or not least <= value <= LARGEST_SIDE):
            raise PisamError(
                f"{where}: settings: {key}: expected a whole number from {least}, got {shown(value)}"
            )
        if value is not None and type(value) not in (int, float, str, bool):
            raise PisamError(f"{where}: settings: {key:.40}: expected a plain value, got {shown(value)}")


def _image(entry: Any, where: str) -> ClickedImage:
    if not isinstance(entry, dict) or not all(_is_name(entry.get(key)) for key in ("set", "image")):
        raise PisamError(f"{where}: expected an image with its set and its name, got {shown(entry)}")
    where = f"{where} ({entry['set']:.40}/{entry['image']:.80})"
    most = {"width": LARGEST_SIDE, "height": LARGEST_SIDE, "common_area": LARGEST_SIDE**2}
    for key, largest in most.items():
        value = entry.get(key)
        if type(value) is not int or not 1 <= value <= largest:
            raise PisamError(
                f"{where}: {key}: expected a whole number from 1 to {largest}, got {shown(value)}"
            )
    clicks = entry.get("clicks")
    if not isinstance(clicks, list) or not clicks:
        raise PisamError(f"{where}: clicks: expected at least one, got {shown(clicks)}")
    return ClickedImage(
        **{key: entry[key] for key in ("set", "image", *most)},
        clicks=tuple(_click(click, entry["width"], entry["height"], where) for click in clicks),
    )


def _is_name(value: Any) -> bool:
    """True of a text under which results can be written, and nowhere else."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    return not {"", ".", ".."} & {*value.split("/")}


def _click(click: Any, width: int, height: int, where: str) -> tuple[float, float, int]:
    if isinstance(click, dict) and click.keys() == {"x", "y", "label"}:
        x, y, label = click["x"], click["y"], click["label"]
        # A number of 400 digits is compared, but never made a float.
        inside = all(
            type(value) in (int, float) and 0 <= value < side for value, side in ((x, width), (y, height))
        )
        if inside and type(label) is int and label in (0, 1):
            return float(x), float(y), label
    got = click.items() if isinstance(click, dict) else [("", click)]
    values = ", ".join(f"{key!s:.10} {shown(value)}" for key, value in got)
    raise PisamError(
        f"{where}: expected clicks with 0 <= x < {width}, 0 <= y < {height} and label 0 or 1, got "
        f"{values:.200}"
    )
