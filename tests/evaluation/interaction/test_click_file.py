"""Click files: written and read back equal; what is wrong in one is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pisam.core.errors import PisamError
from pisam.evaluation.interaction.click_file import (
    ClickFile,
    clicks_hash,
    read_clicks,
    refuse_other_settings,
    write_clicks,
)
from pisam.evaluation.interaction.common_error import ClickedImage

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
