"""A sample is a function of (seed, epoch, set, id) alone, and a bad file is named."""

from __future__ import annotations

import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from helpers.frame_maps import boxes_from_masks
from pisam.core.errors import PisamError
from pisam.core.seeding import derive_seed
from pisam.data.dataset import PairDataset, Sample, collate
from pisam.data.sources.pairs import Pair
from pisam.data.sources.rows import Source, resolve_sources

S = 64


def training_set(root: Path, rows: dict, *names: str, **options: int) -> PairDataset:
    sources = resolve_sources([rows[name] for name in names or ("a", "b")], root, training=True)
    return PairDataset(sources, image_size=S, training=True, **options)


def index_of(data: PairDataset, id_: str) -> int:
    return [pair.id for _, pair in data.items].index(id_)


def test_sources_follow_each_other_sorted_by_id(tiny_root: Path, rows: dict) -> None:
    data = training_set(tiny_root, rows, "b", "a")
    assert len(data) == 13 and data.counts() == {"b": 4, "a": 9}
    assert [data[i].id for i in (0, 3, 4)] == ["0#b.x", "3#b.x", "0#a.x"]


def test_sample_depends_on_its_name_not_on_its_place(tiny_root: Path, rows: dict) -> None:
    one, other = training_set(tiny_root, rows, "a", "b"), training_set(tiny_root, rows, "b", "a")
    for id_ in ("3#a.x", "2#b.x"):
        left, right = one[index_of(one, id_), 4], other[index_of(other, id_), 4]
        assert torch.equal(left.image, right.image) and torch.equal(left.mask, right.mask)
        assert left.seed == right.seed == derive_seed(0, 4, left.set, id_)


def test_one_file_in_two_sets_gets_views_of_its_own(tiny_root: Path, rows: dict) -> None:
    rows = {**rows, "again": {**rows["a"], "name": "again"}}
    data = training_set(tiny_root, rows, "a", "again")
    one, other = data[0], data[9]
    assert one.id == other.id
    assert not torch.equal(one.image, other.image) and one.seed != other.seed


def test_epoch_and_seed_change_the_view(tiny_root: Path, rows: dict) -> None:
    data, reseeded = training_set(tiny_root, rows), training_set(tiny_root, rows, seed=1)
    assert torch.equal(data[2, 1].image, data[2, 1].image)
    assert not torch.equal(data[2, 1].image, data[2, 2].image)
    assert not torch.equal(data[2, 1].image, reseeded[2, 1].image)


def test_repeated_views_keep_their_pixels_but_not_their_seeds(tiny_root: Path, rows: dict) -> None:
    data = training_set(tiny_root, rows, views=3)
    first, again, other = data[5, 1], data[5, 4], data[5, 2]
    assert (first.view, again.view, other.view) == (1, 1, 2)
    assert torch.equal(first.image, again.image) and torch.equal(first.mask, again.mask)
    assert not torch.equal(first.image, other.image)
    assert first.id == again.id and first.seed != again.seed


def test_batch_has_the_declared_shapes(tiny_root: Path, rows: dict) -> None:
    batch = collate([training_set(tiny_root, rows)[i, 0] for i in (0, 5, 12)])
    assert batch.image.shape == (3, 3, S, S) and batch.image.dtype == torch.uint8
    assert batch.mask.shape == (3, 1, S, S) and batch.mask.dtype == torch.bool
    assert batch.extent.shape == (3, 2) and batch.box.dtype == batch.extent.dtype == torch.float32
    assert torch.equal(batch.box, boxes_from_masks(batch.mask))
    assert (batch.ids, batch.sets) == (["0#a.x", "5#a.x", "3#b.x"], ["a", "a", "b"])
    assert batch.views == [0, 0, 0] and batch.original_masks == []


def test_validation_keeps_the_original_mask(tiny_root: Path, rows: dict) -> None:
    sources = resolve_sources([rows["val"]], tiny_root, training=False)
    batch = collate([PairDataset(sources, image_size=S, training=False, seed=3)[i] for i in range(5)])
    for index, (id_, original) in enumerate(zip(batch.ids, batch.original_masks, strict=True)):
        stored = np.array(Image.open(tiny_root / "val/masks" / f"{id_}.png")) > 127
        np.testing.assert_array_equal(original.numpy(), stored)
        height, width = stored.shape
        scaled = boxes_from_masks(original[None, None])[0] * torch.tensor([S / width, S / height] * 2)
        torch.testing.assert_close(batch.box[index], scaled)
        assert batch.seeds[index] == derive_seed(3, "val", "val", id_)
    assert (batch.extent == S).all()


def _first_failure(data: PairDataset, workers: int) -> str:
    with pytest.raises(PisamError) as caught:
        list(DataLoader(data, collate_fn=collate, num_workers=workers))
    return str(caught.value)


def test_a_worker_names_the_file_it_fails_on(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "images/p.png")
    Image.fromarray(np.full((9, 8), 255, np.uint8)).save(tmp_path / "masks/p.png")
    row = {"name": "bad", "images": "images", "masks": "masks"}
    data = PairDataset(resolve_sources([row], tmp_path, training=True), image_size=S, training=True)
    alone = _first_failure(data, 0)
    assert str(tmp_path / "masks/p.png") in alone and "\n" not in alone
    assert _first_failure(data, 1).rstrip().endswith(alone)


@pytest.mark.parametrize("training", [True, False])
def test_a_mask_of_another_size_is_refused(tmp_path: Path, training: bool) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "image.png")
    Image.fromarray(np.full((30, 20), 255, np.uint8)).save(tmp_path / "mask.png")
    data = PairDataset([], image_size=S, training=training)
    data.items = [
        (Source("turned", tmp_path, tmp_path), Pair("a", tmp_path / "image.png", tmp_path / "mask.png"))
    ]
    with pytest.raises(PisamError, match=r"mask\.png: the mask is 20x30 but its image .*image\.png is 30x20"):
        data[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unforeseen_error_names_the_file_too(tiny_root: Path, rows: dict, workers: int) -> None:
    data = training_set(tiny_root, rows)
    data.image_size = "large"  # type: ignore[assignment]
    with pytest.raises(TypeError) as caught:
        list(DataLoader(data, batch_size=None, num_workers=workers))
    assert "0#a.x.jpg" in "".join(traceback.format_exception(caught.value))


def test_real_photographs_make_a_sample_per_source(shared: Path) -> None:
    entries = [
        {"name": n, "images": f"{n}/{part}/images", "masks": f"{n}/{part}/masks"}
        for n, part in (
            ("carrot_weed", "train"),
            ("cwfid", "train"),
            ("ccp_person", "train"),
            ("bm_vespasian", "train"),
            ("alphamatting", "val"),
        )
    ]
    data = PairDataset(resolve_sources(entries, shared / "data", training=True), image_size=S, training=True)
    assert data.counts() == {
        "carrot_weed": 24,
        "cwfid": 40,
        "ccp_person": 180,
        "bm_vespasian": 20,
        "alphamatting": 14,
    }
    for start in (0, 24, 64, 244, 264):
        sample: Sample = data[start, 0]
        assert sample.mask.any() and sample.image.float().std() > 5
