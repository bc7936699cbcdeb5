"""Changes of colour, sharpness and noise in training, by albumentations; the mask stays where it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pisam.core.errors import PisamError
from pisam.core.types import UInt8Array

Step = str | Mapping[str, Any]


class Photometric:
    """Transforms applied one after the other, each with its own probability.

    Args:
        steps: names of albumentations' pixel-level transforms, or `{NAME: {argument: value}}`.

    Raises:
        PisamError: no such transform, one that moves pixels, or a wrong argument.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        # On import it would ask the network for a newer version.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations

        self._compose = albumentations.Compose([_build(albumentations, step) for step in steps])

    def __call__(self, image: UInt8Array, seed: int) -> UInt8Array:
        """The changed image, uint8 (H, W, 3) RGB; a function of image and seed alone."""
        self._compose.set_random_seed(seed % 2**32)
        changed: UInt8Array = self._compose(image=image)["image"]
        return changed


def _build(albumentations: Any, step: Step) -> Any:
    name, arguments = (step, {}) if isinstance(step, str) else next(iter(step.items()))
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
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PisamError(f"data.photometric: {name}: {reason}") from error
