"""COCO files, some right, most with one or several hostile changes."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

from helpers.odd_files import save
from pisam.core.errors import PisamError
from pisam.data.reading.targets import read_labels
from pisam.data.sources import coco
from pisam.data.sources.instances import _areas
from pisam.data.sources.pairs import match_files
from pisam.data.sources.rows import Source

HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 7, 0.5, -0.0, 1e9, 1e308, float("nan"), float("inf"), float("-inf")),
    *(
        2**31,
        2**63,
        10**30,
        10**400,
        -(10**18),
        "",
        "0",
        "1",
        "x",
        "\0",
        "..",
        "../a.png",
        "/etc/passwd",
        "a.png",
    ),
    *(
        "é" * 300,
        "\ud800",
        "0" * 50,
        "oooooooooooo0",
        "~~~~",
        [],
        [[]],
        [[[]]],
        {},
        {"a": 1},
        [None],
        [0] * 7,
    ),
    *([1e300] * 8, [[0, 0, 1e6, 0, 1e6, 1e6]], [-1, -1], {"size": [10**6] * 2, "counts": [0, 5]}),
    *({"size": [1, 1], "counts": "0"}, {"size": [60, 80], "counts": [4800]}, {"counts": []}, {"size": []}),
]


def run_case(seed: int, folder: Path) -> None:
    """Write a file, read all of it twice, and compare with what is known.

    Raises:
        PisamError: it is refused; allowed where it was changed.
    """
    rng = random.Random(seed)
    contents, masks = right_file(rng, folder)
    text = json.dumps(contents)
    changes = rng.choice([0, 1, 1, 1, 2, 3, 8])
    for _ in range(changes):
        text = changed(text, rng)
    (folder / "labels.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        first, second = read_all(folder), read_all(folder)
    except PisamError:
        if not changes:
            raise AssertionError("a right file was refused") from None
        raise
    assert first.keys() == second.keys()
    for name, mask in first.items():
        assert mask.dtype == bool and np.array_equal(mask, second[name]), f"{name} differs, read twice"
    if not changes:
        assert first.keys() == masks.keys(), f"{first.keys()} in place of {masks.keys()}"
        for name, mask in masks.items():
            assert np.array_equal(first[name], mask), f"{name} is wrong"


def read_all(folder: Path) -> dict[str, np.ndarray]:
    """The union of each image, and each instance on its way."""
    coco._read.cache_clear()
    found = {}
    matched = match_files(Source("set", folder, folder / "labels.json", annotated=True))
    if matched.gaps:
        raise PisamError(matched.gaps[0][1])
    for pair in matched.pairs:
        found[pair.id] = read_labels(pair).mask
        _areas(pair)
    return found


def right_file(rng: random.Random, folder: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Contents that are right, and the union of each image by its stem; the pictures are written."""
    images, annotations, masks = [], [], {}
    for index in range(rng.randint(1, 3)):
        height, width = rng.randint(5, 60), rng.randint(5, 80)
        name = f"im{index}.png"
        save(np.zeros((height, width, 3), np.uint8), folder / name)
        id_ = rng.choice([index, str(index), float(index)])
        images.append({"id": id_, "file_name": name, "height": height, "width": width})
        union = np.zeros((height, width), bool)
        for number in range(rng.randint(1, 3)):
            segmentation, mask = segment(rng, height, width)
            union |= mask
            of = rng.choice([index, str(index)])
            annotations.append({"id": number, "image_id": of, "segmentation": segmentation, "iscrowd": 0})
        masks[name.removesuffix(".png")] = union
    return {"images": images, "annotations": annotations, "categories": [{"id": 1}]}, masks


def segment(rng: random.Random, height: int, width: int) -> tuple[Any, np.ndarray]:
    """A segmentation of some object in one of three notations, and its pixels."""
    top, left = rng.randrange(height - 2), rng.randrange(width - 2)
    bottom, right = rng.randint(top + 1, height), rng.randint(left + 1, width)
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    if rng.random() < 0.4:
        return [[left, top, right, top, right, bottom, left, bottom]], mask
    if rng.random() < 0.5:
        mask ^= np.random.default_rng(rng.randrange(10**6)).random(mask.shape) < 0.05
        mask[top, left] = True
    down = mask.T.ravel()
    edges = np.flatnonzero(np.diff(down, prepend=False, append=not down[-1]))
    if rng.random() < 0.5:
        return {"size": [height, width], "counts": np.diff(edges, prepend=0).tolist()}, mask
    code = coco_masks.encode(np.asfortranarray(mask.view(np.uint8)))
    return {"size": [height, width], "counts": code["counts"].decode()}, mask


def changed(text: str, rng: random.Random) -> str:
    """The file with one hostile change, of a value or of its text."""
    kind = rng.random()
    try:
        contents = json.loads(text)
    except (ValueError, RecursionError):
        kind = 1.0
    if kind < 0.75:
        spots = list(places(contents))
        holder, key = rng.choice(spots)
        act = rng.random()
        if act < 0.7:
            holder[key] = copy.deepcopy(rng.choice(HOSTILE))
        elif act < 0.8:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[f"{key}2"] = holder[key]
        return json.dumps(contents)
    at = rng.randrange(len(text) + 1) if text else 0
    match rng.randrange(5):
        case 0:
            return text[:at]
        case 1:
            return (
                text[:at] + rng.choice(["[", "}", ",", '"', "\0", "9" * 5000, "-", "NaN", "1e9"]) + text[at:]
            )
        case 2:
            return text.replace('"id"', '"id": 1, "id"', 1)
        case 3:
            return "[" * 50_000
    return "\ufeff" + text


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    found = [(value, key) for key in keys]
    return found + [spot for _, key in list(found) for spot in places(value[key])]
