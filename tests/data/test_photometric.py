"""Colours change as a function of the seed alone, pixels stay in place, other transforms are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pisam.core.errors import PisamError
from pisam.data.datamodule import PairDataModule
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


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("Normalize", r"Normalize: makes float32 \(48, 64, 3\) of uint8"),
        ("ToFloat", "ToFloat: makes float32"),
        ({"ToGray": {"num_output_channels": 1}}, r"ToGray: makes uint8 \(48, 64(, 1)?\)"),
        ("FDA", "FDA: fails on an image"),
        ({"GaussNoise": {}, "Blur": {}}, "expected NAME or"),
        ({"GaussNoise": 3}, "GaussNoise: expected .*argument: value.*, got 3"),
        (3, "expected NAME or"),
        ({"Normalize": {"p": 0.0}}, "Normalize: makes float32"),
    ],
)
def test_every_step_is_tried_before_anything_is_read(step: Any, message: str) -> None:
    with pytest.raises(PisamError, match=rf"data.photometric: .*{message}"):
        PairDataModule(root="/nowhere", train=["nothing"], photometric=[step])


def test_steps_without_arguments_may_be_written_either_way() -> None:
    for step in ("InvertImg", {"InvertImg": None}, {"InvertImg": {"p": 1.0}}):
        image = Photometric([step])(IMAGE, 1)
        assert image.dtype == np.uint8 and image.shape == IMAGE.shape


def test_a_step_that_fails_on_one_image_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    photometric = Photometric(["InvertImg"])
    monkeypatch.setattr(photometric._compose, "transforms", [None])
    with pytest.raises(PisamError, match=r"data\.photometric: fails on an image \("):
        photometric(IMAGE, 1)
