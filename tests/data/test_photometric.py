"""Colours change as a function of the seed alone, pixels stay in place, other transforms are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pisam.core.errors import PisamError
from pisam.data.dataset import PairDataset
from pisam.data.photometric import Photometric
from pisam.data.sources.rows import resolve_sources
from pisam.data.transforms import PAD_VALUE

STEPS: list[Any] = [{"RandomBrightnessContrast": {"p": 1.0}}, {"GaussNoise": {"p": 1.0}}]
IMAGE = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)


def test_same_seed_same_change() -> None:
    change, again = Photometric(STEPS), Photometric(STEPS)
    first = change(IMAGE, 5)
    np.testing.assert_array_equal(change(IMAGE, 5), first)
    np.testing.assert_array_equal(again(IMAGE, 5), first)
    assert not np.array_equal(change(IMAGE, 6), first) and not np.array_equal(first, IMAGE)
    assert first.dtype == np.uint8 and first.shape == IMAGE.shape


def test_only_training_images_change_and_padding_does_not(tiny_root: Path, rows: dict) -> None:
    sources = resolve_sources([rows["a"]], tiny_root, training=True)
    options: dict[str, Any] = {"image_size": 64, "jitter": (0.8, 0.8)}
    plain = PairDataset(sources, training=True, **options)[0, 3]
    changed = PairDataset(sources, training=True, photometric=STEPS, **options)[0, 3]
    assert torch.equal(plain.mask, changed.mask) and torch.equal(plain.box, changed.box)
    assert not torch.equal(plain.image, changed.image)
    right, low = plain.extent.int().tolist()
    assert (changed.image[:, low:] == PAD_VALUE).all() and (changed.image[:, :, right:] == PAD_VALUE).all()
    validation = [
        PairDataset(sources, training=False, photometric=steps, **options)[0].image for steps in ([], STEPS)
    ]
    assert torch.equal(*validation)


def test_change_depends_on_the_epoch_and_returns_with_its_view(tiny_root: Path, rows: dict) -> None:
    sources = resolve_sources([rows["a"]], tiny_root, training=True)
    options: dict[str, Any] = {"image_size": 64, "jitter": None, "flip": False, "photometric": STEPS}
    data = PairDataset(sources, training=True, **options)
    assert not torch.equal(data[0, 0].image, data[0, 1].image)
    repeated = PairDataset(sources, training=True, views=2, **options)
    assert torch.equal(repeated[0, 0].image, repeated[0, 2].image)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("HorizontalFlip", "HorizontalFlip: expected one of albumentations"),
        ("NoSuchThing", "NoSuchThing: expected one of albumentations"),
        ({"GaussNoise": {"strength": 3}}, "GaussNoise: no argument strength; expected"),
        ({"GaussNoise": {"p": 3}}, "GaussNoise: .*less than or equal to 1"),
    ],
)
def test_a_wrong_step_is_named(step: Any, message: str) -> None:
    with pytest.raises(PisamError, match=rf"data.photometric: {message}"):
        Photometric([step])
