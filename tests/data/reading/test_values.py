"""What values mean: the table of docs/data.md, row by row, and what is ignored on its way to a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.odd_files import SHAPE, grey, palette, save
from helpers.png import write_png
from pisam.core.errors import PisamError
from pisam.data.audit.audit import audit
from pisam.data.dataset import PairDataset, collate
from pisam.data.reading.reader import open_mask, read_coverage, read_mask
from pisam.data.reading.targets import read_ids, read_labels
from pisam.data.sources.instances import split_pairs
from pisam.data.sources.pairs import list_pairs
from pisam.data.sources.rows import Source, resolve_source

BAND = np.zeros_like(SHAPE)
BAND[14:20] = True


def values(background: int, object_: int, band: int) -> np.ndarray:
    return np.where(BAND, band, np.where(SHAPE, object_, background))


def voc(indices: np.ndarray, path: Path) -> Path:
    """A palette like that of PASCAL VOC: index 255 is the cream colour of `void`."""
    colours = np.random.default_rng(0).integers(1, 255, (256, 3))
    colours[0], colours[255] = 0, (224, 224, 192)
    palette(indices, colours.ravel().tolist()).save(path)
    return path


@pytest.mark.parametrize(
    ("object_", "band", "bits"), [(1, 255, 8), (15, 255, 8), (100, 255, 8), (1, 65535, 16), (255, 65535, 16)]
)
def test_a_mark_beside_an_object_is_refused_until_it_is_stated(
    tmp_path: Path, object_: int, band: int, bits: int
) -> None:
    path = write_png(tmp_path / "a.png", values(0, object_, band), bits)
    for read in (read_mask, open_mask):
        with pytest.raises(PisamError, match=rf"a\.png: value {band} beside {object_} .* say ignore: {band}"):
            read(path)
    if object_ in (1, 255):
        coverage, ignored = read_coverage(path, band)
        np.testing.assert_array_equal(coverage, SHAPE * 255)
        np.testing.assert_array_equal(ignored, BAND)
    np.testing.assert_array_equal(read_mask(path, -1), BAND)  # stated: nothing is ignored


def test_what_is_ignored_may_be_any_value(tmp_path: Path) -> None:
    trimap = write_png(tmp_path / "a.png", values(0, 255, 128), 8)
    assert read_mask(trimap).sum() == (SHAPE | BAND).sum()  # grey above 127 is object
    np.testing.assert_array_equal(read_mask(trimap, 128), SHAPE)
    four_bits = write_png(tmp_path / "b.png", values(0, 1, 15), 4)
    with pytest.raises(PisamError, match="value 15 beside 1"):
        read_mask(four_bits)
    np.testing.assert_array_equal(read_mask(four_bits, 15), SHAPE)


def test_void_of_a_palette_is_refused_until_it_is_stated(tmp_path: Path) -> None:
    path = voc(values(0, 15, 255), tmp_path / "a.png")
    for read in (read_mask, open_mask, read_ids):
        with pytest.raises(PisamError, match=r"a\.png: index 255 beside others up to 15 .* ignore: 255"):
            read(path)
    np.testing.assert_array_equal(read_mask(path, 255), SHAPE)
    np.testing.assert_array_equal(read_mask(path, -1), SHAPE | BAND)
    np.testing.assert_array_equal(read_ids(path, 255), SHAPE * 15)
    np.testing.assert_array_equal(read_mask(voc(SHAPE * 255, tmp_path / "b.png")), SHAPE)


def test_ids_up_to_255_are_ids(tmp_path: Path) -> None:
    ids = np.arange(256, dtype=np.uint8).reshape(8, 32).repeat(3, axis=0)
    np.testing.assert_array_equal(read_ids(save(ids, tmp_path / "a.png")), ids)


def test_soft_edges_are_never_taken_for_a_mark(tmp_path: Path) -> None:
    soft = np.minimum(values(0, 255, 0), 255).astype(np.uint8)
    soft[14], soft[15] = 200, 3
    assert read_mask(save(soft, tmp_path / "a.png")).sum() == (soft > 127).sum()


def test_a_cut_out_has_no_value_to_ignore(tmp_path: Path) -> None:
    path = save(np.dstack([grey(0, 0)] * 3 + [grey()]), tmp_path / "a.png")
    with pytest.raises(PisamError, match=r"a\.png: some pixels are transparent, so value 255"):
        read_mask(path, 255)


@pytest.fixture
def marked(tmp_path: Path) -> Source:
    """A 0/1 mask with an ignored band."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    save(
        np.random.default_rng(0).integers(0, 255, (*SHAPE.shape, 3), dtype=np.uint8),
        tmp_path / "images/a.png",
    )
    write_png(tmp_path / "masks/a.png", values(0, 1, 255), 8)
    row = {"name": "set", "images": "images", "masks": "masks", "ignore": 255}
    return resolve_source(row, tmp_path)


def test_what_is_ignored_reaches_the_batch(marked: Source) -> None:
    sample = PairDataset([marked], image_size=64, training=False)[0]
    batch = collate([sample])
    assert torch.equal(batch.original_masks[0], torch.from_numpy(SHAPE))
    assert torch.equal(batch.ignored_at(0), torch.from_numpy(BAND))  # type: ignore[arg-type]
    assert batch.ignored is not None
    # The image is 24 pixels high, the frame 64: rows 14 to 20 become 37.3 to 53.3.
    assert batch.ignored[0, 0].all(dim=1).nonzero().flatten().tolist() == list(range(37, 53))
    assert not (batch.counted() & batch.ignored).any() and not (batch.mask & batch.ignored).any()


@pytest.mark.parametrize("flip", [False, True])
def test_views_show_what_is_ignored_where_it_is(marked: Source, flip: bool) -> None:
    data = PairDataset([marked], image_size=64, training=True, flip=flip, jitter=(1.0, 1.0))
    for epoch in range(4):
        sample = data[0, epoch]
        assert sample.ignored is not None and not (sample.mask & sample.ignored).any()
        assert sample.ignored[0, 28:40, :64].all() and not sample.ignored[0, 40:].any()
        assert not sample.ignored[0, :27].any()


def test_samples_with_and_without_make_one_batch(marked: Source, tiny_root: Path, rows: dict) -> None:
    other = resolve_source(rows["a"], tiny_root)
    data = PairDataset([marked, other], image_size=64, training=False)
    batch = collate([data[0], data[1]])
    assert batch.ignored is not None and batch.ignored.shape == batch.mask.shape
    assert batch.ignored[0].any() and not batch.ignored[1].any()
    assert batch.ignored_at(1).shape == batch.original_masks[1].shape  # type: ignore[union-attr]
    assert collate([data[1]]).ignored is None


def test_instances_and_audit_leave_it_out(marked: Source) -> None:
    (pair,) = split_pairs(marked, list_pairs(marked), 1)
    np.testing.assert_array_equal(read_labels(pair).mask, SHAPE)
    result = audit([("train", marked)])
    assert not result.findings and result.sources[0].shares == [SHAPE.mean()]
    unstated = Source("set", marked.images, marked.masks)
    (finding,) = audit([("train", unstated)]).of("error")
    assert "say ignore: 255" in finding.problem


def test_audit_notes_what_may_be_a_trimap(marked: Source) -> None:
    write_png(marked.masks / "a.png", values(0, 255, 128), 8)
    notes = audit([("train", Source("set", marked.images, marked.masks))]).of("note")
    (finding,) = [note for note in notes if "trimap" in note.problem]
    assert "128 alone" in finding.problem and "ignore: 128" in finding.problem


@pytest.mark.parametrize("value", [0, 65536, True, "255", 1.0])
def test_a_row_ignores_a_value_of_masks(marked: Source, value: object) -> None:
    row = {"name": "set", "images": str(marked.images), "masks": str(marked.masks)}
    with pytest.raises(PisamError, match=r"ignore is .*, expected the value"):
        resolve_source({**row, "ignore": value}, None)
    assert resolve_source({**row, "ignore": False}, None).ignore == -1
    assert resolve_source(row, None).ignore is None


def test_grey_palettes_are_read_as_grey(tmp_path: Path) -> None:
    image = Image.frombytes("P", SHAPE.shape[::-1], values(0, 1, 2).astype(np.uint8).tobytes())
    image.putpalette([0, 0, 0, 255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), SHAPE)
