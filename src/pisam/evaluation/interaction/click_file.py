"""`clicks.json`: the images and clicks of a benchmark, for others to replay with other models."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pisam.core.errors import PisamError
from pisam.core.files import write_json
from pisam.evaluation.interaction.common_error import ClickedImage

FORMAT = 1
FRAME = "pixels of the original image, (x, y) from its upper left corner, pixel centres at +0.5"


@dataclass(frozen=True)
class ClickFile:
    """What a click file says.

    Attributes:
        images: largest common error first.
        seed: of the clicks and of the controls made from them.
        models: names of the models whose common error was clicked.
        settings: how the clicks were drawn and are used: dotted keys of the configuration.
    """

    images: list[ClickedImage]
    seed: int
    models: list[str]
    settings: dict[str, Any]


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
    """SHA-256 of what a model is told: the images, their clicks and the seed of the controls."""
    told = [file.seed, *sorted((image.set, image.image, image.clicks) for image in file.images)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def read_clicks(path: Path) -> ClickFile:
    """Read a click file.

    Raises:
        PisamError: not there, not such a file, or an image or click in it is not as `write_clicks` writes it;
            names the first wrong entry.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PisamError(f"clicks {path}: not readable as JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise PisamError(f'clicks {path}: expected a file of `pisam interact` with "format": {FORMAT}')
    _check_head(content, path)
    images = [_image(entry, f"clicks {path}: images[{row}]") for row, entry in enumerate(content["images"])]
    names = [(image.set, image.image) for image in images]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise PisamError(f"clicks {path}: {'/'.join(twice)} occurs twice")
    return ClickFile(images, content["seed"], content["models"], content["settings"])


def refuse_other_settings(file: ClickFile, settings: dict[str, Any], keys: Sequence[str], path: Path) -> None:
    """Numbers made with other settings are not those of the file.

    Raises:
        PisamError: one of `keys` differs; says how to set it.
    """
    for key in keys:
        if (theirs := file.settings.get(key)) != settings[key]:
            raise PisamError(
                f"clicks {path}: made with {key}={theirs}, this run has {settings[key]}; add {key}={theirs}"
            )


def _check_head(content: dict[str, Any], path: Path) -> None:
    """Raise unless the fields beside the format are there and of their types."""
    for key, kind in (("seed", int), ("models", list), ("settings", dict), ("images", list)):
        if not isinstance(content.get(key), kind):
            raise PisamError(f"clicks {path}: {key}: expected a {kind.__name__}, got {content.get(key)!r}")
    if not content["images"]:
        raise PisamError(f"clicks {path}: images: expected at least one, got none")


def _image(entry: Any, where: str) -> ClickedImage:
    names, sizes = ("set", "image"), ("width", "height", "common_area")
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in names):
        raise PisamError(f"{where}: expected an image with its set and its name, got {entry!r:.80}")
    where = f"{where} ({entry['set']}/{entry['image']})"
    for key in sizes:
        if type(entry.get(key)) is not int or entry[key] < 1:
            raise PisamError(f"{where}: {key}: expected a positive whole number, got {entry.get(key)!r}")
    clicks = entry.get("clicks")
    if not isinstance(clicks, list) or not clicks:
        raise PisamError(f"{where}: clicks: expected at least one, got {clicks!r:.80}")
    return ClickedImage(
        **{key: entry[key] for key in (*names, *sizes)},
        clicks=tuple(_click(click, entry["width"], entry["height"], where) for click in clicks),
    )


def _click(click: Any, width: int, height: int, where: str) -> tuple[float, float, int]:
    if isinstance(click, dict) and click.keys() == {"x", "y", "label"}:
        x, y, label = click["x"], click["y"], click["label"]
        numbers = all(type(value) in (int, float) and math.isfinite(value) for value in (x, y))
        if numbers and 0 <= x < width and 0 <= y < height and type(label) is int and label in (0, 1):
            return float(x), float(y), label
    raise PisamError(
        f"{where}: expected clicks with 0 <= x < {width}, 0 <= y < {height} and label 0 or 1, got {click!r}"
    )
