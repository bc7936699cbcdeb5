"""A prepared copy holds what its originals do, is kept up to date, and training alone reads it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pisam.core.errors import PisamError
from pisam.data.audit import prepared
from pisam.data.audit.prepared import Prepared, prepare_source, prepared_pairs
from pisam.data.dataset import PairDataset
from pisam.data.reading.reader import read_image, read_mask
from pisam.data.sources.rows import Source

LIMIT = 200


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Two pairs beyond the limit (one of them grey, turned by EXIF) and one within it."""
    monkeypatch.setattr(prepared, "MAX_SIDE", LIMIT)
    for part in ("images", "masks"):
        (tmp_path / "set" / part).mkdir(parents=True)
    for name, (height, width) in {"a.b#c": (300, 500), "small": (120, 200), "turned": (480, 320)}.items():
        y, x = np.mgrid[:height, :width]
        mask = np.hypot(y - 0.4 * height, x - 0.6 * width) < 0.3 * height
        mask[height // 2 : height // 2 + 3] = True
        image = np.stack([np.where(mask, 200, 40), x * 255 // width, y * 255 // height], axis=-1)
        exif = Image.Exif()
        stored = Image.fromarray(image.astype(np.uint8))
        if name == "turned":
            exif[0x0112] = 6
            stored = stored.transpose(Image.Transpose.ROTATE_90)
        stored.save(tmp_path / "set/images" / f"{name}.jpg", quality=95, exif=exif)
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "set/masks" / f"{name}.png")  # 0/1
    return Source("set", tmp_path / "set/images", tmp_path / "set/masks")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "prepared"


def dataset(source: Source, folder: Path | None, *, training: bool = True, **options: object) -> PairDataset:
    settings = {"image_size": 64, "jitter": (0.9, 1.5), **options}
    return PairDataset([source], training=training, prepared=folder, **settings)


def test_copies_are_small_upright_and_mean_the_same(source: Source, folder: Path) -> None:
    assert prepare_source(source, folder) == Prepared(made=3, kept=0)
    originals = dataset(source, None).items
    for (_, original), copy in zip(originals, prepared_pairs(source, folder), strict=True):
        image, mask = read_image(copy.image), read_mask(copy.mask)
        whole, whole_mask = read_image(original.image), read_mask(original.mask)
        assert copy.id == original.id and image.shape[:2] == mask.shape
        assert max(mask.shape) == min(LIMIT, max(whole_mask.shape))
        assert mask.shape[0] / mask.shape[1] == pytest.approx(whole.shape[0] / whole.shape[1], rel=0.01)
        with Image.open(copy.mask) as stored:
            assert stored.mode == "1"
        height, width = mask.shape
        means = np.asarray(Image.fromarray(whole).resize((width, height), Image.Resampling.BOX))
        assert np.abs(means.astype(int) - image).mean() < 4
        covered = np.asarray(
            Image.fromarray(whole_mask.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
        )
        wrong = mask != (covered >= 0.5)
        assert np.abs(covered[wrong] - 0.5).max(initial=0) < 0.3 and wrong.mean() < 0.02


def test_an_image_within_the_limit_is_read_where_it_is(source: Source, folder: Path) -> None:
    prepare_source(source, folder)
    small = next(pair for pair in prepared_pairs(source, folder) if pair.id == "small")
    assert small.image == source.images / "small.jpg" and small.mask.is_relative_to(folder)


def test_nothing_is_made_twice_and_an_interrupted_copy_goes_on(source: Source, folder: Path) -> None:
    (source.images / "turned.jpg").rename(source.images / "kept")
    (source.images / "turned.jpg").write_bytes(b"no image")
    with pytest.raises(PisamError, match=r"turned\.jpg"):
        prepare_source(source, folder)
    (source.images / "kept").replace(source.images / "turned.jpg")
    assert prepare_source(source, folder) == Prepared(made=1, kept=2)
    assert prepare_source(source, folder) == Prepared(made=0, kept=3)


def test_a_changed_source_is_refused_until_it_is_prepared_again(source: Source, folder: Path) -> None:
    prepare_source(source, folder)
    changed = source.masks / "small.png"
    os.utime(changed, ns=(0, 1))
    with pytest.raises(PisamError, match=r"1 of 3 pairs of set are missing, .*small\.jpg.*pisam prepare"):
        prepared_pairs(source, folder)
    assert prepare_source(source, folder) == Prepared(made=1, kept=2)
    assert len(prepared_pairs(source, folder)) == 3


@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_damaged_or_lost_copy_is_made_again(source: Source, folder: Path, part: str) -> None:
    prepare_source(source, folder)
    file = next(folder.glob(f"*/{part}/turned.*"))
    whole = file.read_bytes()
    for damage in (lambda: file.write_bytes(whole[:-20]), file.unlink):
        damage()
        with pytest.raises(PisamError, match=r"1 of 3 pairs of set .*turned\.jpg"):
            prepared_pairs(source, folder)
        assert prepare_source(source, folder) == Prepared(made=1, kept=2)
        assert file.read_bytes() == whole
    file.write_bytes(bytes(len(whole)))  # a start compares sizes alone
    assert len(prepared_pairs(source, folder)) == 3
    assert prepare_source(source, folder) == Prepared(made=1, kept=2)


ENTRY = {"source": [1], "shrunk": False, "copy": [["x", 1]]}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "[" * 100_000, json.dumps({"format": 0, "pairs": {}}), '{"format": 1}'),
        *(
            json.dumps({"format": prepared.FORMAT, "pairs": {"x": entry}})
            for entry in (None, ENTRY | {"copy": 5}, ENTRY | {"copy": [5]}, ENTRY | {"copy": [["x", 1, 2]]})
        ),
    ],
    ids=lambda text: text[:60],
)
def test_an_index_that_cannot_be_used_counts_as_none(source: Source, folder: Path, text: str) -> None:
    prepare_source(source, folder)
    next(folder.glob("*/index.json")).write_text(text)
    with pytest.raises(PisamError, match="3 of 3 pairs"):
        prepared_pairs(source, folder)
    assert prepare_source(source, folder).made == 3


def test_what_does_not_read_back_is_an_error(
    source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "read_mask", lambda path: ~read_mask(path))
    with pytest.raises(PisamError, match="does not read back"):
        prepare_source(source, folder)


def test_training_reads_the_copy_and_validation_the_originals(source: Source, folder: Path) -> None:
    prepare_source(source, folder)
    data, originals = dataset(source, folder), dataset(source, None)
    assert all(pair.mask.is_relative_to(folder) for _, pair in data.items)
    assert [pair.id for _, pair in data.items] == [pair.id for _, pair in originals.items]
    for index in range(3):
        one, other = data[index, 2], originals[index, 2]
        assert one.seed == other.seed and one.image.shape == other.image.shape
        assert (one.mask != other.mask).float().mean() < 0.05
        assert (one.image.float() - other.image.float()).abs().mean() < 12
    validation = dataset(source, folder, training=False)
    assert [pair for _, pair in validation.items] == [pair for _, pair in originals.items]


def test_a_copy_too_small_for_the_views_is_refused(source: Source, folder: Path) -> None:
    prepare_source(source, folder)
    with pytest.raises(PisamError, match=r"at most 2048 pixels a side.*4000"):
        dataset(source, folder, image_size=2000, jitter=(1.0, 2.0))


def test_a_value_to_ignore_is_refused_before_anything_is_copied(source: Source, folder: Path) -> None:
    for use in (prepare_source, prepared_pairs):
        with pytest.raises(PisamError, match="has ignore: 128; train on it from the originals"):
            use(replace(source, ignore=128), folder)
    assert not folder.exists()


def test_sources_of_one_name_keep_apart(source: Source, folder: Path, tmp_path: Path) -> None:
    other = Source("set", source.images, tmp_path / "other")
    (tmp_path / "other").mkdir()
    for mask in source.masks.iterdir():
        Image.fromarray(1 - np.asarray(Image.open(mask))).save(tmp_path / "other" / mask.name)
    prepare_source(source, folder)
    prepare_source(other, folder)
    one, inverse = prepared_pairs(source, folder)[0], prepared_pairs(other, folder)[0]
    assert (read_mask(one.mask) != read_mask(inverse.mask)).mean() > 0.95
