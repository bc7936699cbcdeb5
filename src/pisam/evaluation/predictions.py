"""Soft predictions as 8-bit PNG: written beside the scores, read from any other model's folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from pisam.core.errors import PisamError
from pisam.core.files import replacing
from pisam.core.types import BoolArray
from pisam.data.reading.image_files import load_picture, sides
from pisam.data.sources.pairs import SUFFIXES, list_pictures

log = logging.getLogger(__name__)

SHOWN = 3  # names in an error message


def save_prediction(
    levels: npt.NDArray[np.uint8] | BoolArray, folder: Path, set_name: str, image: str
) -> Path:
    """Write levels (H, W) as FOLDER/SET/IMAGE.png, whole or not at all; the stem keeps its dots and '#'.

    A mask bool (H, W) takes one bit a pixel: of a 4K image about 100 KB, in a small share of the time that
    scoring it takes.
    """
    path = folder / set_name / f"{image}.png"
    with replacing(path) as temporary:
        Image.fromarray(levels).save(temporary, format="PNG", compress_level=3)
    return path


def read_prediction(path: Path) -> npt.NDArray[np.uint8]:
    """A predicted mask as 8-bit levels (H, W), taken as they are.

    Raises:
        PisamError: unreadable, or no 8-bit grey picture; names the file.
    """
    picture = load_picture(path)
    image = picture.image
    if image.mode == "P" or picture.has_alpha:
        image = image.convert("RGBA" if picture.has_alpha else "RGB")
    levels = np.array(image)
    if image.mode in ("LA", "RGBA") and (levels[..., -1] == 255).all():
        levels = levels[..., :-1]
    if levels.ndim == 3 and levels.shape[2] in (1, 3) and (levels == levels[..., :1]).all():
        levels = levels[..., 0]
    if picture.wide is not None or levels.ndim != 2:
        raise PisamError(
            f"{path}: a prediction of mode {image.mode}; expected 8-bit grey, 255 = object; convert it"
        )
    # Values of 0 and 1, of which Pillow made 0 and 85 or 17.
    return levels // picture.step if picture.step < 255 and levels.max() == picture.step else levels


def are_binary(predictions: Iterable[Path]) -> bool:
    """True of 0/1 masks, False of soft predictions: no file goes beyond 1, and some file reaches it.

    One file alone cannot tell: of a soft prediction 1 of 255 is nearly nothing.

    Raises:
        PisamError: some files are 0/1 masks and the others 0/255 masks; names one of each.
    """
    ones, full = None, None
    for path in predictions:
        levels = read_prediction(path)
        highest = int(levels.max())
        if highest > 1 and not np.isin(levels, (0, 255)).all():
            return False
        ones, full = path if highest == 1 else ones, path if highest > 1 else full
        if ones and full:
            raise PisamError(
                f"{ones} holds 0 and 1, {full} 0 and 255; expected masks of one kind in a folder, else those "
                "of 0 and 1 count as nearly empty; save all as 0/255"
            )
    return ones is not None


def match_predictions(predictions: Path, masks: Path) -> list[tuple[str, Path, Path]]:
    """(stem, prediction, mask) of every mask, sorted by stem.

    Raises:
        PisamError: no folder, no mask, masks without prediction, predictions without mask, a stem twice,
            other sizes, or files that are no pictures.
    """
    predicted, true = _by_stem(predictions, "predictions"), _by_stem(masks, "masks")
    problems = [
        f"{len(stems)} {what} ({', '.join(sorted(stems)[:SHOWN])}{', ...' if len(stems) > SHOWN else ''})"
        for what, stems in (
            ("masks without prediction", true.keys() - predicted.keys()),
            ("predictions without mask", predicted.keys() - true.keys()),
        )
        if stems
    ]
    if problems:
        raise PisamError(
            f"predictions {predictions} and masks {masks}: {'; '.join(problems)}; expected one file "
            "of the same stem for each, so that no number is of fewer images than it seems"
        )
    matched = [(stem, predicted[stem], true[stem]) for stem in sorted(true)]
    # From the headers alone, so that nothing is scored in vain; a rotated file shows when it is read.
    unlike = [stem for stem, one, other in matched if sides(one) != sides(other)]
    if unlike:
        raise PisamError(
            f"predictions {predictions} and masks {masks}: {len(unlike)} of other sizes "
            f"({', '.join(unlike[:SHOWN])}{', ...' if len(unlike) > SHOWN else ''}); expected predictions at "
            "the original size; save them so"
        )
    return matched


def check_prediction_size(prediction: npt.NDArray[np.uint8], path: Path, mask: np.ndarray, of: Path) -> None:
    """Raise PisamError, which names both files, for a prediction of another size than its mask."""
    if prediction.shape != mask.shape:
        height, width = mask.shape
        raise PisamError(
            f"{path}: the prediction is {prediction.shape[1]}x{prediction.shape[0]} but its mask {of} is "
            f"{width}x{height}; expected the original size; save it unresized"
        )


def _by_stem(folder: Path, key: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise PisamError(f"{key}: no folder {folder}")
    pictures = list_pictures(folder)
    for first, *others in pictures.files.values():
        if others:
            raise PisamError(f"{key}: {first} and {others[0]} have the same stem; remove one")
    if not pictures.files:
        raise PisamError(
            f"{key}: no picture in {folder}{pictures.instead}; expected files of {', '.join(SUFFIXES)}"
        )
    for line in pictures.lines():
        log.warning("%s: %s", key, line)
    return {stem: file for stem, (file,) in pictures.files.items()}


def refuse_nonsense(logits: Tensor, model: str, image: str) -> None:
    """Raise PisamError for logits that are not numbers."""
    if not logits.isfinite().all():
        raise PisamError(
            f"{model}: its logits for {image} are not finite; the checkpoint is damaged or the precision too "
            "low"
        )
