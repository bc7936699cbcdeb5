"""Every kind of finding is made, at its level, and nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.audited_sets import picture, write_source
from pisam.data.audit.audit import audit
from pisam.data.sources.rows import Source


@pytest.fixture
def train(tmp_path: Path) -> Source:
    return write_source(tmp_path / "train_set", range(4))


@pytest.fixture
def val(tmp_path: Path) -> Source:
    return write_source(tmp_path / "val_set", range(10, 13))


def told(train: Source, val: Source) -> list[tuple[str, str, str]]:
    return [(f.level, f.source, f.problem) for f in audit([("train", train), ("val", val)]).findings]


def test_nothing_to_find(train: Source, val: Source) -> None:
    result = audit([("train", train), ("val", val), ("test", val)][:2])
    assert result.findings == []
    assert [(r.part, r.name, r.pairs, r.median_share) for r in result.sources] == [
        ("train", "train_set", 4, 0.125),
        ("val", "val_set", 3, 0.125),
    ]
    assert result.sources[0].long_sides == [80] * 4


def test_errors_of_files_and_folders(train: Source, val: Source) -> None:
    (train.masks / "0.png").unlink()
    (train.images / "1.png").write_bytes((train.images / "1.png").read_bytes()[:500])
    Image.fromarray(np.full((60, 70), 255, np.uint8)).save(train.masks / "2.png")
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(train.masks / "3.png")
    shutil.rmtree(val.masks)
    levels, sources, problems = zip(*told(train, val), strict=True)
    assert set(levels) == {"error"} and list(sources) == ["train_set"] * 4 + ["val_set"]
    for problem, part in zip(
        problems,
        (
            "images/0.png: image without mask",
            "images/1.png: damaged or truncated",
            "masks/2.png: the mask is 70x60",
            "masks/3.png: the mask is empty",
            "val_set/masks: cannot be listed",
        ),
        strict=True,
    ):
        assert part in problem


def test_full_mask_and_single_shade_are_suspect(train: Source, val: Source) -> None:
    Image.fromarray(np.full((60, 80), 255, np.uint8)).save(train.masks / "2.png")
    Image.fromarray(np.full((60, 80, 3), 30, np.uint8)).save(train.images / "3.png")
    (full, shade) = told(train, val)
    assert full[0] == shade[0] == "suspect"
    assert (
        "2.png: the mask covers the whole image" in full[2] and "3.png: the image has one shade" in shade[2]
    )


def test_picture_on_both_sides_is_suspect(train: Source, val: Source) -> None:
    shutil.copy(train.images / "1.png", val.images / "10.png")
    Image.fromarray(picture(2)).resize((40, 30)).resize((80, 60)).save(
        val.images / "11.png", compress_level=0
    )
    first, second = told(train, val)
    assert first[:2] == second[:2] == ("suspect", "val_set")
    assert f"10.png: same file as {train.images / '1.png'} of train_set, which is trained on" in first[2]
    assert f"11.png: looks like {train.images / '2.png'} of train_set, which is trained on" in second[2]


def test_picture_twice_on_one_side_is_a_note(train: Source, val: Source) -> None:
    shutil.copy(train.images / "1.png", train.images / "2.png")
    ((level, source, problem),) = told(train, val)
    assert (level, source) == ("note", "train_set") and "2.png: same file as" in problem


def test_same_folder_trained_on_and_validated_on(train: Source) -> None:
    result = audit([("train", train), ("val", replace(train, name="again"))])
    assert [f.level for f in result.findings] == ["suspect"] * 4
    assert {f.source for f in result.findings} == {"again"}


def test_soft_masks_are_one_note_at_the_softest(train: Source, val: Source) -> None:
    ramp = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1))
    for index in (1, 2):
        Image.fromarray(ramp).save(train.masks / f"{index}.png")
    ((level, _, problem),) = told(train, val)
    assert level == "note" and "1.png" in problem and "in 2 of 4 masks" in problem


def test_a_few_greys_and_a_few_colours_get_advice_that_helps(train: Source, val: Source) -> None:
    """No `ignore` chooses among colours: it names one level of their largest channel."""
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 20:50], mask[20:22, 20:50] = 255, 128
    Image.fromarray(mask).save(train.masks / "0.png")
    classes = np.zeros((60, 80, 3), np.uint8)
    classes[20:40, 20:30], classes[20:40, 30:40], classes[20:40, 40:50] = (64, 0, 0), (192, 128, 128), 224
    for name in ("1.png", "2.png"):
        Image.fromarray(classes).save(train.masks / name)
    (greys,) = [text for _, _, text in told(train, val) if "all greys" in text]
    (colours,) = [text for _, _, text in told(train, val) if "its colours" in text]
    assert "it has 128 alone" in greys and "(1 of 4 masks); say ignore: 128 or ids: true" in greys
    assert "1.png: the largest channel of its colours is 64, 192, 224 alone" in colours
    assert "(2 of 4 masks)" in colours and "save it in black and white" in colours
    assert "say ignore" not in colours


def test_masks_without_image_are_one_note(train: Source, val: Source) -> None:
    for name in ("8.png", "9.png"):
        shutil.copy(train.masks / "0.png", train.masks / name)
    ((level, _, problem),) = told(train, val)
    assert level == "note" and "8.png: mask without an image; the folder has 2" in problem


def test_number_of_pairs_is_compared_with_the_distribution(tmp_path: Path, val: Source) -> None:
    made = write_source(tmp_path / "made", range(3))
    (tmp_path / "DIS5K").mkdir()
    (tmp_path / "made").rename(tmp_path / "DIS5K/DIS-TR")
    folder = tmp_path / "DIS5K/DIS-TR"
    (folder / "images").rename(folder / "im")
    (folder / "masks").rename(folder / "gt")
    known = replace(made, name="DIS5K-TR", images=folder / "im", masks=folder / "gt", role="train")
    ((level, _, problem),) = told(known, val)
    assert level == "note" and "3 pairs in" in problem and "holds 3000" in problem
    assert told(replace(known, limit=2), val) == []


def test_findings_of_one_source_and_part(train: Source, val: Source) -> None:
    (train.masks / "0.png").unlink()
    result = audit([("train", train), ("val", val)])
    assert len(result.of("error", "suspect", source=("train", "train_set"))) == 1
    assert result.of("error", source=("val", "train_set")) == result.of("note") == []
