"""Generated data: the quick start's four sets, in the folders of the official ones, and single pictures."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from pisam.core.errors import PisamError
from pisam.core.files import read_object
from pisam.core.seeding import derive_seed
from pisam.core.types import BoolArray, UInt8Array
from pisam.data.generated.scene import (
    Draw,
    draw_branches,
    draw_fence,
    draw_net,
    draw_pierced_disc,
    draw_wheel,
    make_scene,
)
from pisam.data.sources.known_sets import KNOWN_SETS

VERSION = 2  # raised when the same parameters give other pictures
MARKER = "pisam-quickstart.json"
TRAIN_SETS = ("DIS5K-TR", "HRSOD-TR", "UHRSD-TR", "ThinObject5K-TR")
VAL_SETS = ("DIS5K-VD", "HRSOD-TE", "UHRSD-TE", "ThinObject5K-TE")

# The sets differ, so that scores per set say something.
FAMILIES: dict[str, tuple[Draw, ...]] = {
    "DIS5K": (draw_wheel, draw_fence),
    "HRSOD": (draw_net, draw_pierced_disc),
    "UHRSD": (draw_branches, draw_net),
    "ThinObject5K": (draw_fence, draw_wheel, draw_branches),
}


def write_quickstart(
    root: Path, *, image_size: int = 256, seed: int = 0, train: int = 96, val: int = 24
) -> None:
    """Generate the four sets below `root`, unless they are there already.

    They appear all at once or not at all; when two processes write, one of them wins and both are content.

    Args:
        root: folder to create; one that exists must be empty or hold the same sets.
        image_size: side of the network frame, at least 256; images are 1.25 to 1.55 times as long.
        seed: of everything drawn.
        train: images per training set.
        val: images per validation set.

    Raises:
        PisamError: `root` holds something else, or sets made with other parameters.
        ValueError: `image_size` below 256, `train` or `val` below 1.
    """
    if image_size < 256 or train < 1 or val < 1:
        raise ValueError(
            f"expected image_size >= 256, train >= 1, val >= 1; got {image_size=}, {train=}, {val=}"
        )
    root = Path(root)
    parameters = {"version": VERSION, "image_size": image_size, "seed": seed, "train": train, "val": val}
    if _is_written(root, parameters):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}."))
    try:
        for name in (*TRAIN_SETS, *VAL_SETS):
            _write_set(temporary, name, train if name in TRAIN_SETS else val, image_size, seed)
        (temporary / MARKER).write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        try:
            os.rename(temporary, root)
        except OSError:
            if not _is_written(root, parameters):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_written(root: Path, parameters: dict[str, int]) -> bool:
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    marker = root / MARKER
    if not marker.is_file():
        raise PisamError(
            f"{root}: holds something other than quickstart data; empty it or give another data.root"
        )
    try:
        found = read_object(marker, "")
    except PisamError as error:
        raise PisamError(f"{error}; remove {root} to generate it again") from error
    if found != parameters:
        raise PisamError(
            f"{root}: generated with {found}, expected {parameters}; remove it or give another data.root"
        )
    return True


def _write_set(root: Path, name: str, count: int, image_size: int, seed: int) -> None:
    layout = KNOWN_SETS[name].layouts[0]
    images, masks = root / layout.images, root / layout.masks
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    families = FAMILIES[name.rpartition("-")[0]]
    for index in range(count):
        draw = families[index % len(families)]
        rng = np.random.default_rng(derive_seed(seed, name, index))
        image, mask = make_scene(draw, image_size, rng)
        stem = f"{index:04d}#{draw.__name__.removeprefix('draw_')}"
        Image.fromarray(image).save(images / f"{stem}.jpg", quality=95, subsampling=0)
        Image.fromarray(mask.astype(np.uint8) * 255).save(masks / f"{stem}.png")


DRAWN = (draw_wheel, draw_fence, draw_net, draw_branches, draw_pierced_disc)
NAMES = tuple(draw.__name__.removeprefix("draw_").replace("_", " ") for draw in DRAWN)
SIDE = 512  # of the frame they are made for


def sample(number: int) -> tuple[UInt8Array, BoolArray]:
    """The picture uint8 (H, W, 3) and the mask bool (H, W) of a name of `NAMES`, always the same."""
    return make_scene(DRAWN[number], SIDE, np.random.default_rng(derive_seed(0, "sample", number)))
