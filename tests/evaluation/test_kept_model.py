"""The model in the repository gives the scores that are published beside it, and has not forgotten SAM."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage
import torch

from pisam import PiSamPredictor, load_model
from pisam.data.reading.reader import read_image, read_mask
from pisam.data.transforms import box_of
from pisam.modeling.pisam import PiSam
from pisam.modeling.sam_segmenters import SamSegmenter
from pisam.modeling.segmenters import PiSamSegmenter, first_answers

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results" / "real_small"

ORDINARY = {  # pictures of scikit-image, and boxes of what is on them
    "chelsea.png": (60, 5, 355, 297),
    "coffee.png": (135, 15, 400, 300),
    "astronaut.png": (15, 5, 365, 512),
    "rocket.jpg": (303, 125, 338, 395),
    "camera.png": (0, 55, 300, 512),
    "motorcycle_left.png": (111, 75, 704, 472),
    "coins.png": (28, 102, 72, 148),
    "horse.png": (10, 5, 392, 318),
}


@pytest.fixture(scope="module")
def model(shared: Path) -> PiSam:
    return load_model(RESULTS / "pisam_vit_t.safetensors", weights=shared / "weights")


@pytest.fixture(scope="module")
def predictor(model: PiSam) -> PiSamPredictor:
    return PiSamPredictor(model)


def published(folder: str) -> dict[str, float]:
    with (RESULTS / "kept" / folder / "per_image.csv").open(newline="") as file:
        return {row["image"]: float(row["iou"]) for row in csv.DictReader(file)}


def answer_to_box(predictor: PiSamPredictor, image: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """True mask, answer to its box, and their IoU."""
    mask = read_mask(next((image.parents[1] / "masks").glob(f"{image.stem}.*"))).astype(bool)
    predictor.set_image(read_image(image))
    answer = predictor.set_box(tuple(map(float, box_of(mask))))
    return mask, answer, np.count_nonzero(answer & mask) / np.count_nonzero(answer | mask)


@pytest.mark.parametrize("place", ["alphamatting/val", "cwfid/val", "ccp_person/val"])
def test_a_box_gives_the_published_score_and_clicks_are_obeyed(
    shared: Path, predictor: PiSamPredictor, place: str
) -> None:
    image = sorted((shared / "data" / place / "images").iterdir())[0]
    mask, answer, found = answer_to_box(predictor, image)
    assert found == pytest.approx(published("evaluate")[image.stem], abs=1e-3)
    wrong = np.argwhere(answer != mask)
    row, column = wrong[len(wrong) // 2]
    repaired = predictor.click(column + 0.5, row + 0.5, foreground=bool(mask[row, column]))
    assert repaired[row, column] == mask[row, column]


def test_a_larger_frame_gives_the_score_published_for_it(shared: Path) -> None:
    larger = load_model(RESULTS / "pisam_vit_t.safetensors", shared / "weights", image_size=1024)
    image = sorted((shared / "data" / "ccp_person" / "val" / "images").iterdir())[0]
    found = answer_to_box(PiSamPredictor(larger), image)[-1]
    assert found == pytest.approx(published("evaluate_1024")[image.stem], abs=1e-3)
    assert found > published("evaluate")[image.stem] + 0.005


@pytest.mark.parametrize("picture", ORDINARY)
def test_what_it_was_not_trained_on_is_found_as_sam_finds_it(model: PiSam, picture: str) -> None:
    """A decoder that learns from few pictures may come to go by their colours: a cat was no object then."""
    image = read_image(Path(skimage.__file__).parent / "data" / picture)
    size = model.image_size
    scale = np.tile([size / image.shape[1], size / image.shape[0]], 2)
    frame = torch.from_numpy(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)).permute(2, 0, 1)
    box = torch.tensor(np.array([ORDINARY[picture]]) * scale, dtype=torch.float32)
    answers = first_answers([SamSegmenter(model), PiSamSegmenter(model)], frame[None], box)
    sam, ours = (answer.logits > 0 for answer in answers)
    assert (sam & ours).sum() > 0.8 * (sam | ours).sum()
