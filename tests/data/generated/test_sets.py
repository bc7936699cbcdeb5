"""The quickstart sets are written whole or not at all, and are hard in the way they promise."""

from __future__ import annotations

import filecmp
from pathlib import Path

import numpy as np
import pytest

import pisam.data.generated.sets as synthetic
from pisam.core.errors import PisamError
from pisam.data.generated.sets import MARKER, TRAIN_SETS, VAL_SETS, write_quickstart
from pisam.data.reading.reader import read_image, read_mask
from pisam.data.sources.pairs import list_pairs
from pisam.data.sources.rows import resolve_sources
from pisam.data.transforms import box_of


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart") / "data"
    write_quickstart(folder, train=2, val=12)
    return folder


@pytest.fixture(scope="module")
def val_boxes(root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Image and mask within the box, of every validation pair."""
    cut = []
    for source in resolve_sources(VAL_SETS, root, training=False):
        for pair in list_pairs(source):
            image, mask = read_image(pair.image), read_mask(pair.mask)
            left, top, right, bottom = box_of(mask).astype(int)
            cut.append((image[top:bottom, left:right], mask[top:bottom, left:right]))
    return cut


def iou(prediction: np.ndarray, mask: np.ndarray) -> float:
    return float((prediction & mask).sum() / (prediction | mask).sum())


def best_colour_iou(image: np.ndarray, mask: np.ndarray) -> float:
    """IoU of a Bayes classifier on the colour histogram, fitted on the very pixels it is scored on."""
    colours = (image // 24).astype(int) @ [121, 11, 1]
    total = np.bincount(colours.ravel())
    share = np.bincount(colours.ravel(), weights=mask.ravel()) / np.maximum(total, 1)
    return max(iou(share[colours] > threshold, mask) for threshold in np.arange(0.2, 0.8, 0.1))


def test_sets_have_the_official_layouts(root: Path) -> None:
    training = resolve_sources(TRAIN_SETS, root, training=True)
    assert [len(list_pairs(source)) for source in training] == [2] * 4
    for folder in (
        "DIS5K/DIS-VD/im",
        "HRSOD_release/HRSOD_test_mask",
        "UHRSD_TE_2K/image",
        "ThinObject5K/masks_test",
    ):
        assert len(list((root / folder).iterdir())) == 12


def test_images_are_larger_than_the_frame_and_not_square(root: Path) -> None:
    (source,) = resolve_sources(["DIS5K-VD"], root, training=False)
    shapes = [read_mask(pair.mask).shape for pair in list_pairs(source)]
    assert all(320 <= max(shape) <= 400 for shape in shapes)
    assert len(set(shapes)) > 6 and any(h > w for h, w in shapes) and any(w > h for h, w in shapes)


def test_filling_the_box_scores_below_half(val_boxes: list) -> None:
    assert np.mean([mask.mean() for _, mask in val_boxes]) < 0.5


def test_colour_alone_scores_below_seven_tenths(val_boxes: list) -> None:
    assert np.mean([best_colour_iou(image, mask) for image, mask in val_boxes]) < 0.7


def test_texture_tells_objects_from_distractors(val_boxes: list) -> None:
    """The difficulty is one of recognition: local contrast within the object exceeds that around it."""

    def roughness(image: np.ndarray) -> np.ndarray:
        grey = image.astype(float).mean(axis=2)
        return np.hypot(
            *(
                difference[:-1, :-1]
                for difference in (np.diff(grey, axis=0, append=0), np.diff(grey, append=0))
            )
        )

    for image, mask in val_boxes:
        rough, inside = roughness(image), mask[:-1, :-1]
        assert rough[inside].mean() > 1.5 * rough[~inside].mean()


def test_same_parameters_give_the_same_files_and_another_seed_others(tmp_path: Path, root: Path) -> None:
    write_quickstart(tmp_path / "again", train=2, val=12)
    write_quickstart(tmp_path / "other", train=2, val=12, seed=1)
    files = [str(path.relative_to(root)) for path in root.rglob("*.*g")]
    assert len(files) == 4 * (2 + 12) * 2
    assert filecmp.cmpfiles(root, tmp_path / "again", files, shallow=False)[0] == files
    assert filecmp.cmpfiles(root, tmp_path / "other", files, shallow=False)[0] == []


def test_present_sets_are_left_alone(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    write_quickstart(root, train=2, val=12)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_folders_with_other_contents_are_refused_untouched(tmp_path: Path, root: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(PisamError, match="something other than quickstart data"):
        write_quickstart(tmp_path, train=1, val=1)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
    with pytest.raises(PisamError, match=r"'train': 2.*expected .*'train': 3"):
        write_quickstart(root, train=3, val=12)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / MARKER).write_text("{")
    with pytest.raises(PisamError, match="not readable as JSON"):
        write_quickstart(tmp_path / "broken", train=1, val=1)


def test_sets_of_an_earlier_version_are_refused_untouched(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    monkeypatch.setattr(synthetic, "VERSION", synthetic.VERSION + 1)
    with pytest.raises(PisamError, match=r"'version': .*remove it or give another data\.root"):
        write_quickstart(root, train=2, val=12)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(synthetic.FAMILIES, "UHRSD", (interrupted,))
    interrupted.__name__ = "draw_nothing"
    with pytest.raises(KeyboardInterrupt):
        write_quickstart(tmp_path / "data", train=1, val=1)
    assert list(tmp_path.iterdir()) == []


def test_the_loser_of_two_writers_takes_the_winners_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set, target = synthetic._write_set, tmp_path / "data"

    def while_another_process_finishes(*arguments: object) -> None:
        monkeypatch.setattr(synthetic, "_write_set", write_set)
        write_quickstart(target, train=1, val=1)
        write_set(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(synthetic, "_write_set", while_another_process_finishes)
    write_quickstart(target, train=1, val=1)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert (target / MARKER).is_file()


def test_images_follow_the_network_frame(tmp_path: Path) -> None:
    write_quickstart(tmp_path / "large", image_size=512, train=1, val=1)
    (source,) = resolve_sources(["UHRSD-TR"], tmp_path / "large", training=True)
    (pair,) = list_pairs(source)
    assert 640 <= max(read_mask(pair.mask).shape) <= 800


@pytest.mark.parametrize("wrong", [{"image_size": 128}, {"train": 0}, {"val": 0}])
def test_wrong_sizes_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected image_size >= 256"):
        write_quickstart(tmp_path / "data", **wrong)
