"""Encoded images as files, so that an image is encoded once however often it is worked on."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pisam.core.files import replacing
from pisam.predictor.engine import Engine
from pisam.predictor.session import SeenImage

FORMAT = 1
PREFIX = "encoded_"  # of the engine's own arrays


def write_seen(image: SeenImage, engine: Engine, path: Path) -> None:
    """Write an image that `engine` encoded, whole or not at all.

    Raises:
        PisamError: the file cannot be written.
    """
    encoded: dict[str, Any] = {
        f"{PREFIX}{name}": value for name, value in engine.to_arrays(image.encoded).items()
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            format=FORMAT,
            engine=engine.identity(),
            size=np.array(image.size),
            frame=image.frame,
            **encoded,
        )


def read_seen(path: Path, engine: Engine) -> SeenImage:
    """Read what `write_seen` wrote with the same model; nothing in the file is executed.

    Raises:
        ValueError: no such file, or of another model.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        identity, frame, size = str(arrays["engine"]), arrays["frame"], arrays["size"]
        if int(arrays["format"]) != FORMAT or identity != engine.identity():
            raise ValueError(f"encoded by {identity:.80}, this model is {engine.identity():.80}")
        whole = frame.dtype == np.uint8 and frame.shape == (engine.side, engine.side, 3)
        if not whole or size.shape != (2,) or size.min() < 1:
            raise ValueError(f"frame {frame.dtype} {frame.shape}, size {size.tolist()}")
        encoded = {n.removeprefix(PREFIX): v for n, v in arrays.items() if n.startswith(PREFIX)}
        return SeenImage(frame, engine.from_arrays(encoded, frame), (int(size[0]), int(size[1])))
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"image {path}: not an image that this predictor saved: {error}") from error
