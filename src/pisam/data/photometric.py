"""Changes of colour, sharpness and noise in training, by albumentations; the mask stays where it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pisam.core.errors import PisamError
from pisam.core.types import UInt8Array

Step = str | Mapping[str, Any]

# Of the pictures that every transform is tried on, height and width.
TRIED = ((48, 64), (64, 48), (9, 64))


class Photometric:
    """Transforms applied one after the other, each with its own probability.

    Args:
        steps: names of albumentations' pixel-level transforms, or `{NAME: {argument: value}}`.

    Raises:
        PisamError: no such transform, a wrong argument, or one that on trial does not turn uint8 (H, W, 3)
            into the same, or changes a mask.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        # On import it would ask the network for a newer version.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations

        transforms = []
        for step in steps:
            name, arguments = _named(step)
            transforms.append(_build(albumentations, name, arguments))
            _try(albumentations.Compose([_build(albumentations, name, {**arguments, "p": 1.0})]), name)
        self._compose = albumentations.Compose(transforms)

    def __call__(self, image: UInt8Array, seed: int) -> UInt8Array:
        """The changed image, uint8 (H, W, 3) RGB; a function of image and seed alone.

        Raises:
            PisamError: a transform fails on this image, or gives something else.
        """
        return _changed(self._compose, image, seed % 2**32, "data.photometric")


def _named(step: Step) -> tuple[str, dict[str, Any]]:
    if isinstance(step, str):
        return step, {}
    if not isinstance(step, Mapping) or len(step) != 1:
        raise PisamError(
            f"data.photometric: {step}: expected NAME or {{NAME: {{argument: value}}}}, one each"
        )
    name, arguments = next(iter(step.items()))
    if not isinstance(arguments, Mapping | None):
        raise PisamError(f"data.photometric: {name}: expected {{argument: value}}, got {arguments!r}")
    return str(name), dict(arguments or {})


def _build(albumentations: Any, name: str, arguments: Mapping[str, Any]) -> Any:
    kind: Any = getattr(albumentations, name, None)
    pixel_level = isinstance(kind, type) and issubclass(kind, albumentations.ImageOnlyTransform)
    if not pixel_level or kind is albumentations.ImageOnlyTransform:
        raise PisamError(
            f"data.photometric: {name}: expected one of albumentations' transforms that leave every pixel in "
            "its place, such as RandomBrightnessContrast, HueSaturationValue, GaussNoise, ImageCompression"
        )
    # albumentations merely warns of arguments that it does not know.
    known = kind.InitSchema.model_fields
    for argument in arguments:
        if argument not in known:
            raise PisamError(f"data.photometric: {name}: no argument {argument}; expected {', '.join(known)}")
    try:
        return kind(**arguments)
    except Exception as error:  # of pydantic, or of whatever a transform does with its arguments
        reason = " ".join(str(error).split())
        raise PisamError(f"data.photometric: {name}: {reason}") from error


def _try(transform: Any, name: str) -> None:
    """Refuse a transform that changes the kind of the image, or also the mask."""
    where = f"data.photometric: {name}"
    for seed, shape in enumerate(TRIED):
        rng = np.random.default_rng(seed)
        noise, mask = rng.integers(0, 256, (*shape, 3), dtype=np.uint8), rng.random(shape) < 0.5
        _changed(transform, noise, seed, where)
        if not np.array_equal(transform(image=noise, mask=mask.view(np.uint8))["mask"], mask):
            raise PisamError(f"{where}: changes the mask too; take it out")


def _changed(transform: Any, image: UInt8Array, seed: int, where: str) -> UInt8Array:
    transform.set_random_seed(seed)
    try:
        changed = transform(image=image)["image"]
    except Exception as error:  # a transform raises anything
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise PisamError(f"{where}: fails on an image ({why}); take it out") from error
    array = isinstance(changed, np.ndarray)
    if not array or changed.dtype != np.uint8 or changed.shape != image.shape:
        what = f"{changed.dtype} {changed.shape}" if array else type(changed).__name__
        raise PisamError(
            f"{where}: makes {what} of uint8 {image.shape}; expected the same kind and size, for the network "
            "normalises by itself; take it out"
        )
    return changed
