"""Each object a sample of its own: from components, from ids, from annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks
from skimage.measure import label
from torch.utils.data import DataLoader

from pisam.core.errors import PisamError
from pisam.data.audit.audit import audit
from pisam.data.audit.prepared import prepare_source, prepared_pairs
from pisam.data.dataset import PairDataset, collate
from pisam.data.reading.reader import read_mask
from pisam.data.reading.targets import component, component_areas, read_ids, read_labels
from pisam.data.sources.instances import split_pairs
from pisam.data.sources.pairs import list_pairs
from pisam.data.sources.rows import Source, resolve_source

HEIGHT, WIDTH = 70, 100


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PISAM_CACHE", str(tmp_path / "cache"))


def objects() -> list[np.ndarray]:
    """Two blocks that touch at a corner, a far one, and a speck of four pixels."""
    masks = [np.zeros((HEIGHT, WIDTH), bool) for _ in range(4)]
    masks[0][5:20, 10:40] = True
    masks[1][20:40, 40:60] = True
    masks[2][50:65, 5:30] = True
    masks[3][60:62, 90:92] = True
    return masks


def write_image(folder: Path, name: str = "a.b.jpg") -> None:
    (folder / "images").mkdir(exist_ok=True, parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "images" / name)


def mask_source(folder: Path, mask: np.ndarray, **options: Any) -> Source:
    write_image(folder)
    (folder / "masks").mkdir()
    Image.fromarray(mask).save(folder / "masks" / "a.b.png")
    return Source("set", folder / "images", folder / "masks", **options)


def coco_source(folder: Path, **changes: Any) -> Source:
    """A polygon, an uncompressed and a compressed run-length code, a crowd and a box alone."""
    write_image(folder)
    block, far, speck = objects()[0], objects()[2], objects()[3]
    runs = np.flatnonzero(np.diff(np.concatenate([[0], far.T.ravel(), [0]])))
    counts = np.diff(np.concatenate([[0], runs, [far.size]])).tolist()
    encoded = coco_masks.encode(np.asfortranarray(speck.astype(np.uint8)))
    compressed = {"size": list(speck.shape), "counts": encoded["counts"].decode()}
    codes: dict[int, Any] = {
        7: [[10, 5, 40, 5, 40, 20, 10, 20]],
        3: {"size": [HEIGHT, WIDTH], "counts": counts},
        11: compressed,
        5: [],
    }
    annotations = [{"id": id_, "image_id": 1, "segmentation": code} for id_, code in codes.items()]
    annotations.append({"id": 9, "image_id": 1, "iscrowd": 1, "segmentation": codes[3]})
    assert block.any()
    contents = {
        "images": [
            {"id": 1, "file_name": "a.b.jpg", "height": HEIGHT, "width": WIDTH},
            {"id": 2, "file_name": "none.jpg", "height": 5, "width": 5},
        ],
        "annotations": annotations,
        **changes,
    }
    (folder / "labels.json").write_text(json.dumps(contents))
    return resolve_source({"name": "set", "images": "images", "annotations": "labels.json"}, folder)


def test_components_are_samples_named_by_their_first_pixel(tmp_path: Path) -> None:
    block, corner, far, speck = objects()
    source = mask_source(tmp_path, np.where(sum(objects()), 255, 0).astype(np.uint8))
    pairs = split_pairs(source, list_pairs(source), 10)
    assert [pair.id for pair in pairs] == ["a.b@1", "a.b@2"]
    np.testing.assert_array_equal(read_labels(pairs[0]).mask, block | corner)  # 8-connected
    np.testing.assert_array_equal(read_labels(pairs[1]).mask, far)
    every = split_pairs(source, list_pairs(source), 1)
    assert [pair.id for pair in every] == ["a.b@1", "a.b@2", "a.b@3"]
    np.testing.assert_array_equal(read_labels(every[2]).mask, speck)
    assert [pair.id for pair in split_pairs(source, list_pairs(source), 10**6)] == ["a.b@1"]


def test_components_are_numbered_by_their_first_pixel() -> None:
    mask = np.random.default_rng(0).random((60, 80)) < 0.3
    labels = label(mask, connectivity=2)  # scikit-image's numbers are in this order
    assert labels.max() > 20
    for number in range(1, labels.max() + 1):
        np.testing.assert_array_equal(component(mask, number), labels == number)
    assert component_areas(mask) == dict(enumerate(np.bincount(labels.ravel())[1:], start=1))
    assert not component(mask, labels.max() + 1).any()
    assert component_areas(np.zeros((4, 4), bool)) == {}


@pytest.mark.parametrize("kind", ["L", "P", "I;16"])
def test_ids_of_an_instance_mask_are_samples(tmp_path: Path, kind: str) -> None:
    ids = np.zeros((HEIGHT, WIDTH), np.uint16)
    numbers = (2, 90, 300 if kind == "I;16" else 200)
    for number, mask in zip(numbers, objects(), strict=False):
        ids[mask] = number
    source = mask_source(tmp_path, ids if kind == "I;16" else ids.astype(np.uint8), ids=True)
    if kind == "P":
        path = next(source.masks.iterdir())
        image = Image.open(path)
        image.putpalette(np.random.default_rng(0).integers(0, 255, 768, dtype=np.uint8).tobytes())
        image.save(path)
    np.testing.assert_array_equal(read_ids(list_pairs(source)[0].mask), ids)
    pairs = split_pairs(source, list_pairs(source), 10)
    assert [pair.id for pair in pairs] == [f"a.b@{number}" for number in numbers]
    for pair, mask in zip(pairs, objects(), strict=False):
        np.testing.assert_array_equal(read_labels(pair).mask, mask)
    np.testing.assert_array_equal(read_labels(list_pairs(source)[0]).mask, ids > 0)


def test_ids_cannot_be_colours(tmp_path: Path) -> None:
    source = mask_source(tmp_path, np.zeros((HEIGHT, WIDTH, 3), np.uint8), ids=True)
    with pytest.raises(PisamError, match=r"a.b.png: pixels of kind RGB; expected one id per pixel"):
        read_labels(list_pairs(source)[0])


def test_annotations_are_samples_and_their_union_is_one(tmp_path: Path) -> None:
    block, _, far, speck = objects()
    source = coco_source(tmp_path)
    (pair,) = list_pairs(source)
    np.testing.assert_array_equal(read_labels(pair).mask, block | far | speck)
    pairs = split_pairs(source, [pair], 1)
    assert [pair.id for pair in pairs] == ["a.b@3", "a.b@7", "a.b@11"]
    for one, mask in zip(pairs, (far, block, speck), strict=True):
        np.testing.assert_array_equal(read_labels(one).mask, mask)


def test_annotations_pass_the_audit_and_can_be_prepared(tmp_path: Path) -> None:
    source = coco_source(tmp_path)
    result = audit([("train", source)])
    assert not result.of("error") and result.sources[0].pairs == 1
    prepare_source(source, tmp_path / "copy")
    (copy,) = prepared_pairs(source, tmp_path / "copy")
    np.testing.assert_array_equal(read_mask(copy.mask), read_labels(list_pairs(source)[0]).mask)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [{"id": 1}]}, r"labels.json: no COCO annotations \(KeyError"),
        ({"annotations": []}, "no image with a segmentation"),
        (
            {"images": [{"id": 1, "file_name": "lost.jpg", "height": 7, "width": 7}]},
            r"names lost.jpg, but there is no .*lost.jpg",
        ),
        (
            {"annotations": [{"id": 4, "image_id": 1, "segmentation": {"size": [70, 100], "counts": 5}}]},
            "annotation 4: the segmentation cannot be decoded",
        ),
        (
            {"annotations": [{"id": 4, "image_id": 1, "segmentation": {"size": [3, 3], "counts": [4, 5]}}]},
            "annotation 4 is 3x3, its image 100x70",
        ),
    ],
)
def test_bad_annotations_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    source = coco_source(tmp_path, **changes)
    with pytest.raises(PisamError, match=message):
        read_labels(list_pairs(source)[0])


def test_a_row_needs_either_masks_or_annotations(tmp_path: Path) -> None:
    coco_source(tmp_path)
    row = {"name": "set", "images": "images", "annotations": "labels.json"}
    with pytest.raises(PisamError, match="give both images and masks"):
        resolve_source({**row, "masks": "images"}, tmp_path)
    with pytest.raises(PisamError, match="annotations: no file"):
        resolve_source({**row, "annotations": "lost.json"}, tmp_path)
    with pytest.raises(PisamError, match="ids says what the values of masks mean"):
        resolve_source({**row, "ids": True}, tmp_path)
    with pytest.raises(PisamError, match="ids is 1, expected true or false"):
        resolve_source({"name": "x", "images": "images", "masks": "images", "ids": 1}, tmp_path)


def test_instances_are_remembered_until_their_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = mask_source(tmp_path, np.where(sum(objects()), 255, 0).astype(np.uint8))
    before = split_pairs(source, list_pairs(source), 1)
    from pisam.data.sources import instances

    read: list[Any] = []
    find = instances._areas
    monkeypatch.setattr(instances, "_areas", lambda pair: read.append(pair) or find(pair))
    assert split_pairs(source, list_pairs(source), 1) == before and not read
    Image.fromarray(objects()[0]).save(before[0].mask)
    assert [pair.id for pair in split_pairs(source, list_pairs(source), 1)] == ["a.b@1"]
    assert len(read) == 1
    monkeypatch.setattr(instances, "reading_rules", lambda: "others")
    assert split_pairs(source, list_pairs(source), 1) and len(read) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_of_instances_have_a_box_and_a_view_of_their_own(tmp_path: Path, workers: int) -> None:
    source = coco_source(tmp_path)
    data = PairDataset([source], image_size=64, training=True, instances=10)
    assert data.counts() == {"set": 2}
    batch = next(iter(DataLoader(data, batch_size=2, collate_fn=collate, num_workers=workers)))
    assert batch.ids == ["a.b@3", "a.b@7"] and batch.seeds[0] != batch.seeds[1]
    validation = collate(
        [PairDataset([source], image_size=64, training=False, instances=1)[i] for i in (0, 1)]
    )
    assert torch.equal(validation.original_masks[1], torch.from_numpy(objects()[0]))
    expected = torch.tensor([10 * 0.64, 5 * 64 / 70, 40 * 0.64, 20 * 64 / 70])
    torch.testing.assert_close(validation.box[1], expected)


def test_instances_of_a_prepared_copy_are_refused(tmp_path: Path) -> None:
    source = coco_source(tmp_path)
    prepare_source(source, tmp_path / "copy")
    with pytest.raises(PisamError, match=r"data.instances must be union"):
        PairDataset([source], image_size=64, training=True, prepared=tmp_path / "copy", instances=1)
