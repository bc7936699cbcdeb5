"""The model in the repository gives the scores that are published beside it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pisam import PiSamPredictor, load_model
from pisam.data.reading.reader import read_image, read_mask
from pisam.data.transforms import box_of

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results" / "real_small"


@pytest.fixture(scope="module")
def predictor(shared: Path) -> PiSamPredictor:
    return PiSamPredictor(load_model(RESULTS / "pisam_vit_t.safetensors", weights=shared / "weights"))


@pytest.fixture(scope="module")
def published() -> dict[str, float]:
    with (RESULTS / "kept" / "evaluate" / "per_image.csv").open(newline="") as file:
        return {row["image"]: float(row["iou"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("place", ["alphamatting/val", "cwfid/val", "ccp_person/val"])
def test_a_box_gives_the_published_score_and_clicks_are_obeyed(
    shared: Path, predictor: PiSamPredictor, published: dict[str, float], place: str
) -> None:
    image = sorted((shared / "data" / place / "images").iterdir())[0]
    mask = read_mask(next((shared / "data" / place / "masks").glob(f"{image.stem}.*"))).astype(bool)
    predictor.set_image(read_image(image))
    answer = predictor.set_box(tuple(map(float, box_of(mask))))
    found = np.count_nonzero(answer & mask) / np.count_nonzero(answer | mask)
    assert found == pytest.approx(published[image.stem], abs=1e-3)
    wrong = np.argwhere(answer != mask)
    row, column = wrong[len(wrong) // 2]
    repaired = predictor.click(column + 0.5, row + 0.5, foreground=bool(mask[row, column]))
    assert repaired[row, column] == mask[row, column]
