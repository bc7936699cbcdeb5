"""Folders of pairs, each picture its own, for audits."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pisam.data.sources.rows import Source


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    """A smooth random picture (H, W, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def write_source(folder: Path, seeds: range, name: str = "") -> Source:
    """Pairs `SEED.png` of pictures and masks with a square."""
    images, masks = folder / "images", folder / "masks"
    for part in (images, masks):
        part.mkdir(parents=True)
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 20:50] = 255
    for seed in seeds:
        Image.fromarray(picture(seed)).save(images / f"{seed}.png")
        Image.fromarray(mask).save(masks / f"{seed}.png")
    return Source(name or folder.name, images, masks)
