"""Several models over many images: read each once, ask every model, keep what is done, go on after an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pisam.core.errors import PisamError
from pisam.core.files import sha256_of
from pisam.data.reading.targets import read_pair
from pisam.data.sources.pairs import Pair
from pisam.evaluation.benchmark.entrant import Entrant, WrongAnswer, facts_of, file_stem, name_of
from pisam.evaluation.benchmark.interaction_file import (
    MOST_FACTS,
    is_fact,
    is_text,
    read_interaction,
    write_interaction,
)
from pisam.evaluation.benchmark.record import ClickProtocol, Failure, ImageRecord, Interaction
from pisam.evaluation.benchmark.run import Scene, click_scene
from pisam.evaluation.parallel import Threads
from pisam.metrics.protocol import versions

SAVE_SECONDS = 60.0
LONGEST_STEM = 200  # bytes: beside a suffix, also while the file is written
Item = tuple[str, Pair]  # name of the set, and the image with its mask
Key = tuple[str, str]


@dataclass
class Entry:
    """A model of a benchmark and its file."""

    entrant: Entrant
    path: Path  # of its `interaction.json`
    record: Interaction  # what is known so far
    saved: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> set[Key]:
        """Images with scores. Failed ones are tried again."""
        return {(image.set, image.image) for image in self.record.images}

    def save(self, order: Sequence[Key]) -> None:
        """Write the file, images in the order of the data."""
        position = {key: index for index, key in enumerate(order)}
        self.record.images.sort(key=lambda image: position[image.set, image.image])
        self.record.failed.sort(key=lambda failure: position[failure.set, failure.image])
        write_interaction(self.record, self.path)
        self.saved = time.monotonic()


def open_entry(
    entrant: Entrant,
    folder: Path,
    protocol: ClickProtocol,
    sets: dict[str, int],
    scenes: dict[Key, tuple[str, str]],
    ignore: dict[str, int],
) -> Entry:
    """Begin a model's file `NAME.json` in `folder`, or go on with the one that is there.

    Args:
        sets: images of each set, as published where that is known.
        scenes: (set, image) -> hashes of image and mask here.
        ignore: as in `Interaction`.

    Raises:
        PisamError: a name or fact that no file can hold; the file there is of another protocol, model or
            images; it is left alone.
    """
    name = name_of(entrant)
    if not 0 < len(file_stem(name).encode()) <= LONGEST_STEM or not is_text(name):
        raise PisamError(
            f"a model's name has letters or digits, one line and at most {LONGEST_STEM} bytes, got "
            f"{name!r:.80}; give it another"
        )
    path = folder / f"{file_stem(name)}.json"
    facts = facts_of(entrant)
    for key, value in facts.items():
        if not (is_text(key) and is_fact(value)):
            raise PisamError(
                f"{name}: facts: {key!r:.40}: expected a text of one line, a finite number, true, false or "
                f"None, got {type(value).__name__}; leave it out"
            )
    if len(facts) > MOST_FACTS:
        raise PisamError(f"{name}: facts: expected at most {MOST_FACTS}, got {len(facts)}")
    record = Interaction(protocol, facts, versions(), sets, ignore=ignore)
    if path.exists():
        there = read_interaction(path)
        unlike = [
            f"{what} ({', '.join(key for key in {**before, **now} if before.get(key) != now.get(key))})"
            for what, before, now in (
                ("another protocol", there.protocol.facts(), protocol.facts()),
                ("another model", there.model, record.model),
                ("other sets", there.sets, sets),
                ("other ignored values", there.ignore, ignore),
                ("other versions", there.versions, record.versions),
            )
            if before != now
        ]
        if unlike:
            raise PisamError(
                f"{path} holds results of {' and '.join(unlike)}; delete it, or give another out=DIR"
            )
        for image in there.images:
            refuse_changed(image, scenes, str(path))
        record.images = list(there.images)
    return Entry(entrant, path, record)


def refuse_changed(image: ImageRecord, scenes: dict[Key, tuple[str, str]], source: str) -> None:
    """Raises PisamError where an image of earlier results is not here, or its files changed since."""
    here = scenes.get((image.set, image.image))
    name = f"{image.set}/{image.image}"
    if here is None:
        raise PisamError(f"{source}: its image {name} is not among the images here; give the same ones")
    for what, before, now in zip(("image", "mask"), (image.sha256, image.mask_sha256), here, strict=True):
        if before != now:
            raise PisamError(
                f"{source}: the {what} of {name} changed since; give the same files, or another out=DIR"
            )


def enter(
    entries: Sequence[Entry],
    items: Sequence[Item],
    order: Sequence[Key],
    scenes: dict[Key, tuple[str, str]],
    threads: Threads,
    *,
    limit: float | None = None,
    on_image: Callable[[], Any] = lambda: None,
    save: bool = True,
) -> None:
    """Ask every model about every image of this process that it has no scores for.

    What a model raises, or answers instead of logits, fails the image for this model alone.

    Args:
        order: all images, in the order of the files.
        scenes: see `open_entry`.
        threads: score beside the models.
        limit: the most seconds an answer may take.
        on_image: called after each.
        save: keep the files up to date meanwhile.
    """
    for item in items:
        key = (item[0], item[1].id)
        waiting = [entry for entry in entries if key not in entry.done]
        if waiting:
            scene = read_scene(item, scenes[key])
            for entry in waiting:
                _ask(entry, scene, threads, limit)
                if save and time.monotonic() - entry.saved > SAVE_SECONDS:
                    entry.save(order)
        on_image()


def hashes_of(items: Sequence[Item]) -> dict[Key, tuple[str, str]]:
    """SHA-256 of each image's file and of its mask's.

    Raises:
        PisamError: a file is missing, or a name cannot stand in a result file.
    """
    known: dict[Path, str] = {}
    for name, pair in items:
        if not (is_text(name) and is_text(pair.id)):
            raise PisamError(f"{name!r}/{pair.id!r}: a name has printable letters alone; rename it")
        for path in (pair.image, pair.mask):
            if path not in known:
                known[path] = sha256_of(path)
    return {(name, pair.id): (known[pair.image], known[pair.mask]) for name, pair in items}


def read_scene(item: Item, hashes: tuple[str, str]) -> Scene:
    """An image with its mask; raises PisamError: unreadable, of two sizes, or a mask without object."""
    name, pair = item
    pixels, labels = read_pair(pair)
    return Scene(name, pair.id, pixels, labels.mask, labels.ignored, *hashes)


def _ask(entry: Entry, scene: Scene, threads: Threads, limit: float | None) -> None:
    """A model about an image: its scores, or why it has none."""
    try:
        if begin := getattr(entry.entrant, "begin", None):
            begin(scene.set, scene.image)
        entry.record.images.append(
            click_scene(entry.entrant, scene, entry.record.protocol, threads, limit=limit)
        )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a model may raise anything
        entry.record.failed.append(Failure(scene.set, scene.image, _reason(error)))


def _reason(error: BaseException) -> str:
    try:
        text = str(error) if isinstance(error, WrongAnswer) else f"{type(error).__name__}: {error}"
    except Exception:  # the model's own says nothing
        text = ""
    return (
        "".join(letter if letter.isprintable() else " " for letter in text)[:300].strip()
        or type(error).__name__
    )
