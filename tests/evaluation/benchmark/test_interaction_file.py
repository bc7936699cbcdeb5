"""The format: what is written is read back and fits the published schema; what is wrong is named."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from helpers.interactions import image_record, interaction
from pisam.core.errors import PisamError
from pisam.evaluation.benchmark.interaction_file import read_interaction, write_interaction
from pisam.evaluation.benchmark.record import ClickProtocol, Failure, Interaction

SCHEMA = json.loads(
    files("pisam.evaluation.benchmark").joinpath("interaction.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def written(record: Interaction, folder: Path) -> tuple[Path, Any]:
    path = folder / "interaction.json"
    write_interaction(record, path)
    return path, json.loads(path.read_text())


@pytest.mark.parametrize(
    "protocol",
    [
        ClickProtocol(),
        ClickProtocol("points", clicks=3, seed=4),
        ClickProtocol("box", "human", 2, seed=1, jitter=2.5, delay=1),
    ],
)
def test_what_is_written_is_read_back_and_fits_the_schema(tmp_path: Path, protocol: ClickProtocol) -> None:
    record = interaction(protocol=protocol, images=3)
    path, content = written(record, tmp_path)
    VALIDATOR.validate(content)
    assert read_interaction(path) == record
    assert content["protocol_id"].startswith(protocol.prompt)
    assert content["status"] == "complete" and "ignore" not in content
    record.ignore = {"set": 128}
    path, content = written(record, tmp_path)
    VALIDATOR.validate(content)
    assert read_interaction(path) == record


def test_fewer_images_or_a_failed_one_are_never_complete(tmp_path: Path) -> None:
    fewer = interaction(images=3)
    del fewer.images[1]
    assert written(fewer, tmp_path)[1]["status"] == "partial"
    failed = interaction(images=3)
    gone = failed.images.pop()
    failed.failed.append(Failure(gone.set, gone.image, "mine: answered NaN"))
    path, content = written(failed, tmp_path)
    VALIDATOR.validate(content)
    assert read_interaction(path).status == "partial" and read_interaction(path).missing == 1
    content["status"] = "complete"
    path.write_text(json.dumps(content))
    with pytest.raises(
        PisamError, match=r"status 'complete', but by its images it is partial \(2 of 3, 1 failed\)"
    ):
        read_interaction(path)


def test_the_hash_is_of_all_that_decides_and_of_nothing_else() -> None:
    assert ClickProtocol(seed=3, jitter=9).hash == ClickProtocol().hash  # RITM draws nothing
    ones = [
        ClickProtocol(),
        ClickProtocol(clicks=10),
        ClickProtocol(user="human"),
        ClickProtocol(user="human", seed=1),
        ClickProtocol(user="human", jitter=1),
        ClickProtocol(user="human", delay=1),
        ClickProtocol("points"),
        ClickProtocol("points", seed=1),
        ClickProtocol("box"),
    ]
    assert len({one.hash for one in ones}) == len(ones)


def test_a_threshold_written_without_a_point_is_the_same_one(tmp_path: Path) -> None:
    path, content = written(interaction(), tmp_path)
    own = content["protocol_hash"]
    content["protocol"]["threshold"] = 0
    plain = json.dumps(content["protocol"], sort_keys=True).encode()
    for stated in (own, hashlib.sha256(plain).hexdigest()):
        path.write_text(json.dumps(content | {"protocol_hash": stated}))
        assert read_interaction(path).protocol.hash == own


Path_ = tuple[Any, ...]
WRONG: list[tuple[Path_, Any]] = [
    (("format",), "something"),
    (("version",), 2),
    (("version",), True),
    (("frame",), None),
    (("protocol", "clicks"), 0),
    (("protocol", "clicks"), "20"),
    (("protocol", "prompt"), "scribble"),
    (("protocol", "user"), "me"),
    (("protocol", "boundary_dilation_ratio"), -0.02),
    (("protocol", "boundary_dilation_ratio"), 20),
    (("protocol", "threshold"), 1001),
    (("protocol", "class"), "os:system"),
    (("protocol_hash",), "0" * 64),
    (("model", "name"), ""),
    (("model", "name"), 3),
    (("model", "layers"), [1]),
    (("versions", "torch"), 2),
    (("sets", "set"), 0),
    (("sets", "set"), "three"),
    (("ignore",), {"set": 0}),
    (("ignore",), {"other": 128}),
    (("ignore",), 128),
    (("status",), "done"),
    (("images",), {}),
    (("images", 0), None),
    (("images", 0, "set"), ""),
    (("images", 0, "set"), "other"),
    (("images", 0, "image"), "a\u202eb"),
    (("images", 0, "image"), "x" * 501),
    (("images", 0, "sha256"), "../../etc/passwd"),
    (("images", 0, "width"), 0),
    (("images", 0, "width"), 1.5),
    (("images", 0, "height"), 10**9),
    (("images", 0, "start"), [0.5, 0.5]),
    (("images", 0, "clicks"), []),
    (("images", 0, "clicks", 0), [1, 2]),
    (("images", 0, "clicks", 0), [1, 2, 3]),
    (("images", 0, "clicks", 0), [1, 2, True]),
    (("images", 0, "clicks", 0), [-1, 2, 1]),
    (("images", 0, "clicks", 0), [1e9, 2, 1]),
    (("images", 0, "clicks", 0), ["1", 2, 1]),
    (("images", 0, "iou", 0), 1.01),
    (("images", 0, "iou", 0), -0.01),
    (("images", 0, "iou", 0), None),
    (("images", 0, "iou", 0), True),
    (("images", 0, "biou", 0), "0.5"),
    (("images", 0, "seconds", 0), -1),
    (("images", 0, "seconds"), [0.1]),
    (("images", 0, "controls"), []),
    (("images", 0, "controls", "obeyed"), 2),
    (("images", 0, "controls", "__init__"), 0.5),
    (("images", 0, "more"), 1),
    (("failed",), None),
    (("failed",), [{"set": "set", "image": "9"}]),
    (("failed",), [{"set": "set", "image": "0", "reason": "twice"}]),
    (("more",), 1),
]
# What a schema cannot say, and its description names.
BEYOND_THE_SCHEMA = (
    [("protocol_hash",), "0" * 64],
    [("ignore",), {"other": 128}],
    [("images", 0, "set"), "other"],
    [("images", 0, "image"), "a\u202eb"],
    [("images", 0, "start"), [0.5, 0.5]],
    [("images", 0, "clicks"), []],
    [("images", 0, "clicks", 0), [1e9, 2, 1]],
    [("images", 0, "seconds"), [0.1]],
    [("failed",), [{"set": "set", "image": "0", "reason": "twice"}]],
)


@pytest.mark.parametrize(("place", "value"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_named_and_the_schema_agrees(tmp_path: Path, place: Path_, value: Any) -> None:
    path, content = written(interaction(images=2), tmp_path)
    target = content
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(PisamError) as error:
        read_interaction(path)
    named = {"version": "version", "frame": "frame"}.get(str(place[-1]), "")
    assert str(path) in str(error.value) and named in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    fits = VALIDATOR.is_valid(content)
    known = [place, value] in [list(each) for each in BEYOND_THE_SCHEMA]
    assert fits == known or isinstance(value, bool)  # to a schema too, 1 is not True


def test_a_file_of_no_set_is_refused(tmp_path: Path) -> None:
    empty = interaction(images=0)
    empty.sets = {}
    path, content = written(empty, tmp_path)
    with pytest.raises(PisamError, match="sets: expected at least one"):
        read_interaction(path)
    assert not VALIDATOR.is_valid(content)


def test_every_key_is_needed(tmp_path: Path) -> None:
    path, content = written(interaction(images=1), tmp_path)
    for key in content:
        less = copy.deepcopy(content)
        del less[key]
        path.write_text(json.dumps(less))
        with pytest.raises(PisamError, match=str(path)):
            read_interaction(path)
        assert not VALIDATOR.is_valid(less), key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        '{"format": "pisam interaction", "version": NaN}',
        '{"format": "pisam interaction", "version": ' + "9" * 5000 + "}",
        "[]",
        '"pisam interaction"',
        '{"format": 1}',
        "\x00\xff",
    ],
)
def test_what_is_no_such_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(PisamError, match=r"file\.json") as error:
        read_interaction(path)
    assert "\n" not in str(error.value)


def test_a_number_beyond_floats_is_refused(tmp_path: Path) -> None:
    path, content = written(interaction(images=1), tmp_path)
    text = json.dumps(content)
    for seconds in ("1e999", "9" * 400):
        first = json.dumps(content["images"][0]["seconds"])
        path.write_text(text.replace(first, f"[{seconds}{', 0' * (first.count(','))}]"))
        with pytest.raises(PisamError, match=r"seconds|1e999 among the numbers"):
            read_interaction(path)


def test_an_image_twice_and_more_images_than_the_set_has_are_refused(tmp_path: Path) -> None:
    twice = interaction(images=2)
    twice.images[1] = twice.images[0]
    with pytest.raises(PisamError, match="set/0 occurs twice"):
        read_interaction(written(twice, tmp_path)[0])
    more = interaction(images=2)
    more.images.append(image_record("more"))
    with pytest.raises(PisamError, match="3 images of set, which has 2"):
        read_interaction(written(more, tmp_path)[0])


def test_numbers_that_are_none_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        written(interaction(images=1, iou=[math.nan] * 3), tmp_path)
