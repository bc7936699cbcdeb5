"""Pictures that occur more than once among all sources of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pisam.data.audit.fingerprints import same_looks

Part = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Entry:
    """An image of a source: its part of the run, the hashes of its bytes and of its look (if any)."""

    part: Part
    source: str
    image: Path
    content: str
    look: str

    @property
    def training(self) -> bool:
        """On the training side of the split."""
        return self.part == "train"


def find_duplicates(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Entry, str]]:
    """Every image that repeats an earlier one, as (image, the first of its kind, how they agree).

    Training images count as earlier than others, so what training shares with validation or test is a
    finding about the latter.
    """
    ordered = sorted(entries, key=lambda entry: not entry.training)
    by_content: dict[str, list[Entry]] = {}
    for entry in ordered:
        by_content.setdefault(entry.content, []).append(entry)
    for first, *others in by_content.values():
        yield from ((entry, first, "same file as") for entry in others)

    # Equal files are found already: one of each stands for all, a training image where there is one.
    by_look: dict[str, list[Entry]] = {}
    for first, *_ in by_content.values():
        if first.look:
            by_look.setdefault(first.look, []).append(first)
    groups = list(by_look.values())
    kind = list(range(len(groups)))
    # Pairs come with the earlier index first; kinds are joined under their earliest.
    for earlier, later in sorted(same_looks([int(look, 16) for look in by_look])):
        kind[later] = min(kind[later], kind[earlier])
    alike: dict[int, list[Entry]] = {}
    for index, group in enumerate(groups):
        alike.setdefault(kind[index], []).extend(group)
    for members in alike.values():
        first, *others = sorted(members, key=lambda entry: not entry.training)
        yield from ((entry, first, "looks like") for entry in others)
