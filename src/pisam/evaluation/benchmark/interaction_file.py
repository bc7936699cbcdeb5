"""`interaction.json`, version 1: written whole, read with distrust; `interaction.schema.json` describes it.

Numbers of clicks stand in columns, so that a file of a large set stays small and is read in a blink. Two runs
of one protocol, model and set give the same file but for `seconds`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

from pisam.core.errors import PisamError
from pisam.core.files import read_object, write_text
from pisam.core.types import Click
from pisam.evaluation.benchmark.record import (
    CONTROLS,
    MOST_CLICKS,
    ClickProtocol,
    Failure,
    ImageRecord,
    Interaction,
    hash_of,
)
from pisam.evaluation.interaction.click_file import FRAME

FORMAT = "pisam interaction"
VERSION = 1
LARGEST_FILE = 256 * 1024**2  # bytes; 1,537 images with 20 clicks take 4 MB
LONGEST_TEXT = 500
MOST_FACTS = 100
MOST_IMAGES = 200_000
LARGEST_SIDE = 100_000
TOP = (
    *("format", "version", "frame", "protocol", "protocol_id", "protocol_hash"),
    *("model", "versions", "sets", "status", "images", "failed"),
)
NAMES = ("set", "image")
HASHES = ("sha256", "mask_sha256")
SIZES = ("width", "height")
COLUMNS = ("clicks", "iou", "biou", "seconds")


def write_interaction(record: Interaction, path: Path) -> None:
    """Write a file, whole or not at all; a line per image."""
    head = {
        "format": FORMAT,
        "version": VERSION,
        "frame": FRAME,
        "protocol": record.protocol.facts(),
        "protocol_id": record.protocol.id,
        "protocol_hash": record.protocol.hash,
        "model": record.model,
        "versions": record.versions,
        "sets": record.sets,
        **({"ignore": record.ignore} if record.ignore else {}),
        "status": record.status,
    }
    images = ",\n".join(json.dumps(_plain(image), allow_nan=False) for image in record.images)
    failed = ",\n".join(json.dumps(vars(failure)) for failure in record.failed)
    start = json.dumps(head, indent=1, allow_nan=False).removesuffix("\n}")
    write_text(f'{start},\n "images": [\n{images}\n],\n "failed": [\n{failed}\n]\n}}\n', path)


def read_interaction(path: Path) -> Interaction:
    """Read a file of anybody's.

    Raises:
        PisamError: not there, too large, another format or version, or anything in it that the schema does
            not allow; names the first wrong entry.
    """
    if path.is_file() and (size := path.stat().st_size) > LARGEST_FILE:
        raise PisamError(f"{path}: {size} bytes, expected at most {LARGEST_FILE}")
    content, where = read_object(path, ""), f"{path}"
    if content.get("format") != FORMAT:
        raise PisamError(
            f'{where}: expected an interaction file, "format": "{FORMAT}", as pisam benchmark writes'
        )
    if type(content.get("version")) is not int or content["version"] != VERSION:
        raise PisamError(f"{where}: version {content.get('version')!r:.20}, expected {VERSION}; update pisam")
    ignored = {"ignore": content.pop("ignore", {})}  # which most files do not have
    _keys(content, TOP, where)
    if content["frame"] != FRAME:
        raise PisamError(f"{where}: frame: expected {FRAME!r}, got {content['frame']!r:.80}")
    protocol = _protocol(content, where)
    sets = _dict(
        content, "sets", where, lambda value: type(value) is int and 0 < value <= MOST_IMAGES, "a number"
    )
    if not sets:
        raise PisamError(f"{where}: sets: expected at least one")
    entries, failed = _list(content, "images", where), _list(content, "failed", where)
    images = [_image(entry, protocol, f"{where}: images[{row}]") for row, entry in enumerate(entries)]
    failures = [_failure(entry, f"{where}: failed[{row}]") for row, entry in enumerate(failed)]
    record = Interaction(
        protocol,
        _dict(content, "model", where, is_fact, "a text, number, true, false or null"),
        _dict(content, "versions", where, is_text, "a text"),
        sets,
        images,
        failures,
        _dict(ignored, "ignore", where, lambda value: type(value) is int and 0 < value < 2**16, "1 to 65535"),
    )
    if not is_text(record.model.get("name")) or not record.model["name"]:
        raise PisamError(f"{where}: model: expected a name, got {record.model.get('name')!r:.40}")
    if not record.ignore.keys() <= sets.keys():
        raise PisamError(f"{where}: ignore: names a set that sets does not name")
    _refuse_twice(record, where)
    if content["status"] != record.status:
        raise PisamError(
            f"{where}: status {content['status']!r:.20}, but by its images it is {record.status} "
            f"({len(images)} of {sum(sets.values())}, {len(failures)} failed)"
        )
    return record


def _plain(image: ImageRecord) -> dict[str, Any]:
    return {each.name: getattr(image, each.name) for each in fields(image)}


def _protocol(content: dict[str, Any], where: str) -> ClickProtocol:
    facts = content["protocol"]
    known = {each.name for each in fields(ClickProtocol)}
    if not isinstance(facts, dict) or not facts.keys() <= known:
        raise PisamError(
            f"{where}: protocol: expected keys out of {', '.join(sorted(known))}, got {facts!r:.80}"
        )
    try:
        protocol = ClickProtocol(**facts)
    except PisamError as error:
        raise PisamError(f"{where}: protocol: {error}") from error
    # A file may write 0 where we write 0.0, and has the hash of either.
    known_hash = content["protocol_hash"] in (protocol.hash, hash_of(facts))
    if not known_hash or (content["protocol_id"], facts) != (protocol.id, protocol.facts()):
        raise PisamError(f"{where}: protocol_id or protocol_hash is not that of its protocol ({protocol.id})")
    return protocol


def _image(entry: Any, protocol: ClickProtocol, where: str) -> ImageRecord:
    _keys(entry, [each.name for each in fields(ImageRecord)], where)
    names = [_text(entry, key, where) for key in NAMES]
    where = f"{where} ({'/'.join(names)})"
    for key in HASHES:
        if not (is_text(entry[key]) and len(entry[key]) == 64 and set(entry[key]) <= set("0123456789abcdef")):
            raise PisamError(f"{where}: {key}: expected 64 hexadecimal digits, got {entry[key]!r:.80}")
    for key in SIZES:
        if type(entry[key]) is not int or not 0 < entry[key] <= LARGEST_SIDE:
            raise PisamError(f"{where}: {key}: expected a positive whole number, got {entry[key]!r:.40}")
    columns = {key: _list(entry, key, where) for key in COLUMNS}
    if len({len(column) for column in columns.values()}) > 1 or len(columns["clicks"]) > protocol.clicks:
        lengths = ", ".join(f"{len(column)} {key}" for key, column in columns.items())
        raise PisamError(f"{where}: expected as many of each, at most {protocol.clicks}, got {lengths}")
    start = entry["start"]
    if (start is not None) != (protocol.prompt == "box") or (start is None and not columns["clicks"]):
        raise PisamError(f"{where}: expected a start where the prompt is a box, else at least one click")
    if start is not None and not (isinstance(start, list) and len(start) == 2 and _are_shares(start)):
        raise PisamError(f"{where}: start: expected IoU and boundary IoU in [0, 1], got {start!r:.80}")
    for key in ("iou", "biou"):
        if not _are_shares(columns[key]):
            raise PisamError(f"{where}: {key}: expected numbers in [0, 1]")
    if not _are_numbers(columns["seconds"], 0, 1e9):
        raise PisamError(f"{where}: seconds: expected numbers from 0 to 1e9")
    controls = _dict(
        entry, "controls", where, lambda value: _are_numbers([value], -1, 1), "a number from -1 to 1"
    )
    if not controls.keys() <= set(CONTROLS):
        raise PisamError(f"{where}: controls: expected keys out of {', '.join(CONTROLS)}")
    plain: dict[str, Any] = {key: entry[key] for key in (*HASHES, *SIZES)}
    return ImageRecord(
        names[0],
        names[1],
        **plain,
        start=None if start is None else (float(start[0]), float(start[1])),
        clicks=_clicks(columns["clicks"], entry["width"], entry["height"], where),
        iou=tuple(map(float, columns["iou"])),
        biou=tuple(map(float, columns["biou"])),
        seconds=tuple(map(float, columns["seconds"])),
        controls=controls,
    )


def _clicks(rows: list[Any], width: int, height: int, where: str) -> tuple[Click, ...]:
    if not all(isinstance(row, list) and len(row) == 3 for row in rows):
        raise PisamError(f"{where}: clicks: expected rows [x, y, label]")
    xs, ys, labels = zip(*rows, strict=True) if rows else ((), (), ())
    inside = _are_numbers(xs, 0, width) and _are_numbers(ys, 0, height)
    if not (inside and set(map(type, labels)) <= {int} and set(labels) <= {0, 1}):
        raise PisamError(
            f"{where}: clicks: expected 0 <= x <= {width}, 0 <= y <= {height} and label 0 or 1 in each row"
        )
    return tuple(zip(map(float, xs), map(float, ys), labels, strict=True))


def _failure(entry: Any, where: str) -> Failure:
    keys = [each.name for each in fields(Failure)]
    _keys(entry, keys, where)
    return Failure(*(_text(entry, key, where) for key in keys))


def _refuse_twice(record: Interaction, where: str) -> None:
    seen: set[tuple[str, str]] = set()
    counts = dict.fromkeys(record.sets, 0)
    everything: Iterable[ImageRecord | Failure] = chain(record.images, record.failed)
    for image in everything:
        key = (image.set, image.image)
        if key in seen:
            raise PisamError(f"{where}: {'/'.join(key)} occurs twice")
        if image.set not in counts:
            raise PisamError(f"{where}: {'/'.join(key)} is of a set that sets does not name")
        seen.add(key)
        counts[image.set] += 1
    for name, number in counts.items():
        if number > record.sets[name]:
            raise PisamError(f"{where}: {number} images of {name}, which has {record.sets[name]}")


def _keys(entry: Any, keys: Sequence[str], where: str) -> None:
    if not isinstance(entry, dict) or entry.keys() != set(keys):
        got = sorted(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
        raise PisamError(f"{where}: expected the keys {', '.join(keys)}, got {str(got)[:200]}")


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    if not is_text(entry[key]) or not entry[key]:
        raise PisamError(f"{where}: {key}: expected a text of one line, got {entry[key]!r:.80}")
    return str(entry[key])


def _list(entry: dict[str, Any], key: str, where: str) -> list[Any]:
    most = MOST_CLICKS if key in COLUMNS else MOST_IMAGES
    if not isinstance(entry[key], list) or len(entry[key]) > most:
        raise PisamError(f"{where}: {key}: expected a list of at most {most}, got {entry[key]!r:.40}")
    return list(entry[key])


def _dict(
    entry: dict[str, Any], key: str, where: str, valid: Callable[[Any], bool], expected: str
) -> dict[str, Any]:
    value = entry[key]
    if not isinstance(value, dict) or len(value) > MOST_FACTS:
        raise PisamError(f"{where}: {key}: expected at most {MOST_FACTS} names and values, got {value!r:.40}")
    for name, each in value.items():
        if not is_text(name) or not valid(each):
            raise PisamError(f"{where}: {key}: {name!r:.40}: expected {expected}, got {each!r:.40}")
    return dict(value)


def is_text(value: Any) -> bool:
    """Is it a text that a file may hold: of one line, not too long?"""
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and value.isprintable()


def is_fact(value: Any) -> bool:
    """Is it a plain value that a file may hold?"""
    return value is None or isinstance(value, bool) or is_text(value) or _are_numbers([value], -1e300, 1e300)


def _are_shares(values: Sequence[Any]) -> bool:
    return _are_numbers(values, 0, 1)


def _are_numbers(values: Sequence[Any], low: float, high: float) -> bool:
    # The types one by one: a comparison would take True for 1.
    if not set(map(type, values)) <= {int, float}:
        return False
    return not values or (low <= min(values) and max(values) <= high)
