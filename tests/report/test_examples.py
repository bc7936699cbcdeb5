"""What is shown of an image, and its small pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pisam.core.drawing import FALSE, MISSED
from pisam.core.errors import PisamError
from pisam.data.sources.pairs import Pair
from pisam.evaluation.interaction.click_file import ClickedImage
from pisam.evaluation.predictions import save_prediction
from pisam.report.examples import OPACITY, Files, read_example, sets_in_turn, write_pictures


def test_the_largest_common_errors_of_all_sets_in_turn() -> None:
    names = ["a/0", "a/1", "b/2", "a/3", "c/4", "b/5"]
    files = [
        Files(
            Pair(image, Path(), Path()), Path(), ClickedImage(set_, image, 1, 1, 1, ((0.5, 0.5, 1),)), 1, {}
        )
        for set_, image in (name.split("/") for name in names)
    ]

    def chosen(number: int) -> list[str]:
        return [f"{one.clicked.set}/{one.clicked.image}" for one in sets_in_turn(files, number)]

    assert chosen(4) == ["a/0", "b/2", "c/4", "a/1"]
    assert chosen(100) == ["a/0", "b/2", "c/4", "a/1", "b/5", "a/3"]


HEIGHT, WIDTH = 1200, 1600


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A photograph of 1600 x 1200 pixels with a ragged object, and one model's answers."""
    rng = np.random.default_rng(0)
    mask = np.kron(rng.random((30, 40)) > 0.7, np.ones((40, 40), dtype=bool))
    mask[:400, :800] = False
    before, after = mask.copy(), mask.copy()
    before[:200, :200] = True
    after[800:, 800:] = False
    coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg")
    Image.fromarray(mask).save(tmp_path / "a.png")
    scores = []
    for when, answer in (("before", before), ("after", after)):
        save_prediction(answer, tmp_path / "masks" / "SAM" / when, "val", "a")
        scores.append(float((answer & mask).sum() / (answer | mask).sum()))
    return Files(
        pair=Pair("a", tmp_path / "a.jpg", tmp_path / "a.png"),
        masks=tmp_path / "masks",
        clicked=ClickedImage("val", "a", WIDTH, HEIGHT, 9, ((1.5, 2.5, 0), (3.5, 4.5, 1))),
        given=1,
        scores={"SAM": (scores[0], scores[1])},
    )


def test_pictures_are_shrunk_and_small(files: Files, tmp_path: Path) -> None:
    write_pictures(files, tmp_path / "out" / "0001")
    written = sorted((tmp_path / "out" / "0001").iterdir())
    assert [path.name for path in written] == ["0-after.png", "0-before.png", "mask.png", "photo.jpg"]
    for path in written:
        with Image.open(path) as picture:
            assert picture.size == (1024, 768)
    # Of 200 images with five models a few ten MB.
    assert sum(path.stat().st_size for path in written) < 200_000


def test_regions_lie_in_their_places_with_nothing_elsewhere(files: Files, tmp_path: Path) -> None:
    write_pictures(files, tmp_path / "out")
    mask = read_example(files).mask
    with Image.open(tmp_path / "out" / "0-before.png") as picture:
        before = np.asarray(picture.convert("RGBA"))
    with Image.open(tmp_path / "out" / "0-after.png") as picture:
        after = np.asarray(picture.convert("RGBA"))
    assert tuple(before[60, 60]) == (*FALSE, OPACITY[2])
    assert after[60, 60, 3] == 0
    y, x = np.argwhere(mask[820::40, 820::40])[0] * 40 + 820
    assert tuple(after[int(y * 0.64), int(x * 0.64)]) == (*MISSED, OPACITY[3])
    assert tuple(before[int(y * 0.64), int(x * 0.64)]) == (255, 255, 255, OPACITY[1])


def test_only_the_clicks_that_were_given_are_shown(files: Files) -> None:
    assert read_example(files).clicks == ((1.5, 2.5, 0),)


def test_a_damaged_photograph_is_refused_by_name(files: Files, tmp_path: Path) -> None:
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(PisamError, match=r"a\.jpg"):
        write_pictures(files, tmp_path / "out")
    assert not (tmp_path / "out").exists()
