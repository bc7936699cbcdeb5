"""Clicks of the common error of all models, and the file that others replay them from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.known_answers import MASK, SIDE, Paints, answer_of, batch_of, rectangle
from helpers.reference import common_error_pixels
from helpers.small_runs import small_batch, small_model
from pisam.clicks.simulate import simulate_clicks
from pisam.core.errors import PisamError
from pisam.core.seeding import derive_seed
from pisam.evaluation.interaction.click_file import (
    ClickedImage,
    ClickFile,
    click_common_error,
    clicks_hash,
    common_error,
    read_clicks,
    refuse_other_settings,
    select_images,
    write_clicks,
)
from pisam.modeling.sam_segmenters import SamSegmenter
from pisam.modeling.segmenters import PiSamSegmenter

SIMULATION = {"min_area": 8, "margin": 0.25, "connectivity": 8}


@pytest.mark.parametrize("models", [1, 2, 3])
def test_common_error_is_what_no_model_has_right(models: int) -> None:
    rng = np.random.default_rng(models)
    mask = rng.random((13, 17)) < 0.5
    predictions = [rng.random((13, 17)) < 0.5 for _ in range(models)]
    region = common_error([torch.from_numpy(p) for p in predictions], torch.from_numpy(mask))
    expected = common_error_pixels(predictions, mask)
    assert expected
    assert {(int(x), int(y)) for y, x in region.nonzero()} == expected


def clicked(*segmenters: Paints, stretch: tuple[int, int] = (1, 1), seed: int = 3) -> ClickedImage:
    batch = batch_of(MASK, stretch)
    answers = [answer_of(segmenter, batch) for segmenter in segmenters]
    return click_common_error(answers, batch, seed=seed, max_clicks=20, simulation=SIMULATION)


def test_clicks_are_those_of_the_simulator_on_the_common_region() -> None:
    """One model lacks the lower half of the object, one its left half and adds a strip above."""
    lower, left = rectangle(8, 8, 56, 30), rectangle(30, 2, 56, 56)
    image = clicked(Paints("a", lower), Paints("b", left))
    region = rectangle(8, 30, 30, 56)
    assert (image.set, image.image, image.width, image.height) == ("set", "image", SIDE, SIDE)
    assert image.common_area == 22 * 26
    seeds = [derive_seed(3, "common error", "set", "image")]
    expected = simulate_clicks(MASK, MASK, seeds=seeds, max_clicks=20, region=region, **SIMULATION)
    assert list(image.clicks) == expected.rows(0)
    assert {label for *_, label in image.clicks} == {1}


def test_area_and_clicks_are_in_pixels_of_the_original() -> None:
    image = clicked(Paints("a", rectangle(8, 8, 56, 30)), stretch=(4, 2))
    assert (image.width, image.height) == (4 * SIDE, 2 * SIDE)
    assert image.common_area == pytest.approx(48 * 26 * 8, rel=0.05)  # the edge is bilinear
    assert len(image.clicks) == 9  # sqrt(area) / 10; 3 of them in the frame's pixels
    for x, y, label in image.clicks:
        assert 8 * 4 < x < 56 * 4 and 30 * 2 < y < 56 * 2 and label == 1
        assert x % 1 == y % 1 == 0.5


def test_clicks_depend_on_seed_and_name_alone() -> None:
    lacking = Paints("a", rectangle(8, 8, 56, 30))
    assert clicked(lacking) == clicked(lacking, Paints("b", rectangle(8, 8, 56, 20)))
    assert clicked(lacking).clicks != clicked(lacking, seed=4).clicks


def test_models_that_err_differently_have_no_common_error() -> None:
    image = clicked(Paints("a", rectangle(8, 8, 56, 30)), Paints("b", rectangle(8, 30, 56, 56)))
    assert (image.common_area, image.clicks) == (0, ())


def test_clicks_of_real_models_lie_where_both_are_wrong() -> None:
    model = small_model().eval()
    segmenters = [SamSegmenter(model), PiSamSegmenter(model)]
    batch = small_batch(1)
    first = [answer_of(segmenter, batch) for segmenter in segmenters]
    image = click_common_error(first, batch, seed=0, max_clicks=20, simulation=SIMULATION)
    mask = batch.original_masks[0]
    answers = [answer.mask() for answer in first]
    assert image.clicks
    for x, y, label in image.clicks:
        assert all(bool(answer[int(y), int(x)]) != bool(label) for answer in answers)
        assert bool(mask[int(y), int(x)]) == bool(label)


def image_of(name: str, area: int, clicks: int) -> ClickedImage:
    return ClickedImage("set", name, 9, 9, area, ((0.5, 0.5, 1),) * clicks)


def test_the_largest_common_errors_are_chosen_and_the_others_named() -> None:
    images = [
        image_of("a", 50, 1),
        image_of("b", 0, 0),
        image_of("c", 90, 3),
        image_of("d", 7, 0),
        image_of("e", 50, 2),
        image_of("f", 20, 1),
    ]
    selection = select_images(images, 3)
    assert [image.image for image in selection.chosen] == ["c", "a", "e"]
    assert [image.image for image in selection.without_error] == ["b"]
    assert [image.image for image in selection.too_small] == ["d"]
    assert len(select_images(images, 200).chosen) == 4


FILE = ClickFile(
    images=[
        ClickedImage("a", "x#1.b", 30, 20, 90, ((29.5, 0.5, 1), (3.5, 19.5, 0))),
        ClickedImage("b", "x#1.b", 8000, 6000, 12, ((7999.5, 5999.5, 0),)),
    ],
    seed=2**40,
    models=["SAM", "Pi-SAM"],
    settings={"interact.clicks": 10, "clicks.margin": 0.25},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_clicks(FILE, tmp_path / "clicks.json")
    return tmp_path / "clicks.json"


def test_what_is_read_is_what_was_written(path: Path) -> None:
    assert read_clicks(path) == FILE


def test_the_file_can_be_read_without_this_package(path: Path) -> None:
    content = json.loads(path.read_text())
    assert content["images"][0]["clicks"][1] == {"x": 3.5, "y": 19.5, "label": 0}
    assert (content["images"][0]["width"], content["seed"]) == (30, 2**40)
    assert "+0.5" in content["frame"]


def test_its_hash_is_that_of_what_models_are_told() -> None:
    image = FILE.images[0]
    for same in (replace(FILE, images=FILE.images[::-1]), replace(FILE, models=[], settings={})):
        assert clicks_hash(same) == clicks_hash(FILE)
    for other in (
        replace(FILE, seed=1),
        replace(FILE, images=[image]),
        replace(FILE, images=[replace(image, clicks=image.clicks[::-1]), FILE.images[1]]),
    ):
        assert clicks_hash(other) != clicks_hash(FILE)


def first(content: dict) -> dict:
    return content["images"][0]


WRONG: dict[str, tuple[Callable[[dict], Any], str]] = {
    "another format": (lambda c: c.update(format=2), 'with "format": 1'),
    "no seed": (lambda c: c.pop("seed"), "seed: expected a int, got None"),
    "no image": (lambda c: c["images"].clear(), "images: expected at least one"),
    "an image without name": (
        lambda c: first(c).pop("image"),
        r"images\[0\]: expected an image with its set",
    ),
    "the same image twice": (lambda c: c["images"].append(first(c)), "'a/x#1.b' occurs twice"),
    "no width": (
        lambda c: first(c).pop("width"),
        r"images\[0\] \(a/x#1.b\): width: expected an? [a-z ]*from 1",
    ),
    "a width of 400 digits": (lambda c: first(c).update(width=10**400), "more than 60 digits"),
    "a click 400 digits away": (lambda c: first(c)["clicks"][0].update(x=10**400), "more than 60 digits"),
    "a seed of 400 digits": (lambda c: c.update(seed=10**400), "seed: expected 0 to .* more than 60 digits"),
    "a seed that is true": (lambda c: c.update(seed=True), "seed: expected a int, got True"),
    "models without names": (lambda c: c.update(models=[None]), "models: expected names"),
    "a setting of an odd kind": (
        lambda c: c["settings"].update({"interact.clicks": "ten"}),
        "interact.clicks: expected a whole number",
    ),
    "a nested setting": (lambda c: c["settings"].update(x=[1]), "x: expected a plain value, got a list of 1"),
    "an image that is a path": (lambda c: first(c).update(image="../x"), "expected an image with its set"),
    "a set that is null": (lambda c: first(c).update(set=None), "expected an image with its set"),
    "images that are numbers": (lambda c: c.update(images=[1, 2]), r"images\[0\]: expected an image"),
    "clicks that are null": (
        lambda c: first(c).update(clicks=None),
        "clicks: expected at least one, got None",
    ),
    "no click": (lambda c: first(c).update(clicks=[]), r"a/x#1.b\): clicks: expected at least one"),
    "a click outside": (lambda c: first(c)["clicks"][1].update(x=30.0), r"0 <= x < 30, .* got x 30.0"),
    "a click nowhere": (lambda c: first(c)["clicks"][1].update(y=float("nan")), "NaN among the numbers"),
    "a label of another kind": (lambda c: first(c)["clicks"][0].update(label=2), "label 0 or 1"),
    "a click that is a list": (lambda c: first(c).update(clicks=[[1, 2, 0]]), "label 0 or 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(path: Path, case: str) -> None:
    damage, message = WRONG[case]
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(PisamError, match=message) as error:
        read_clicks(path)
    assert str(path) in str(error.value)


def test_no_file_and_no_json_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    for name in ("broken.json", "absent.json"):
        with pytest.raises(PisamError, match=rf"{name}: not readable as JSON"):
            read_clicks(tmp_path / name)


def test_other_settings_are_refused_with_the_key_to_set(path: Path) -> None:
    keys = ["interact.clicks"]
    refuse_other_settings(FILE, {"interact.clicks": 10, "clicks.margin": 0.5}, keys, path)
    with pytest.raises(PisamError, match=r"interact.clicks=10, this run has 5; add interact.clicks=10"):
        refuse_other_settings(FILE, {"interact.clicks": 5}, keys, path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"x"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{}",
        b"\x00",
        b"1" * 5000,
    ],
    ids=["empty", "null", "list", "number", "text", "deep list", "deep object", "not UTF-8", "NUL", "digits"],
)
def test_hostile_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "clicks.json"
    file.write_bytes(content)
    with pytest.raises(PisamError, match=r"clicks.json: ") as error:
        read_clicks(file)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
