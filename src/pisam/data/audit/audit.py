"""Everything wrong with the data of a run, found before its first step.

A finding is
- an error: the pair, or the source, cannot be used; no training starts with one;
- suspect: usable, but wrong in all likelihood: a picture both in training and in validation or test, a mask
  that covers everything, an image of one shade. To be mended too, but training only warns of it;
- a note: worth knowing, and often right as it is: a picture twice on one side, soft masks, masks without an
  image, files that were not looked at, another number of pairs than the distribution holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Literal

from pisam.core.errors import PisamError
from pisam.data.audit.duplicates import Entry, Part, content_hash, find_duplicates
from pisam.data.audit.facts import PairFacts, facts_of
from pisam.data.sources.pairs import Matched, Pair, match_files
from pisam.data.sources.rows import Source, published_pairs

Level = Literal["error", "suspect", "note"]

# From this share of grey in the object on, a mask counts as soft.
MUCH_SOFT = 0.1


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `image` and `mask` where it is about one."""

    level: Level
    part: Part
    source: str
    image: Path | None
    mask: Path | None
    problem: str


@dataclass
class SourceReport:
    """One source: its usable pairs in numbers."""

    name: str
    part: Part
    pairs: int = 0
    long_sides: list[int] = field(default_factory=list)  # of the images, in pixels
    shares: list[float] = field(default_factory=list)  # of the pixels that are object
    contents: str = ""  # hash of what all files say, where each can be used

    @property
    def median_share(self) -> float | None:
        return median(self.shares) if self.shares else None


@dataclass
class Audit:
    """All findings, in the order of sources and files, and a report per source."""

    findings: list[Finding]
    sources: list[SourceReport]

    def of(self, *levels: Level, source: tuple[Part, str] | None = None) -> list[Finding]:
        """The findings of some levels, of the source of one part and name or of all."""
        return [f for f in self.findings if f.level in levels and source in (None, (f.part, f.source))]


def audit(sources: Iterable[tuple[Part, Source]], findings: Sequence[Finding] = ()) -> Audit:
    """Examine every pair of every source; only files that are new or changed are read.

    `sources` come with their part of the run, the same folders in several maybe; `findings` were made before.
    """
    result = Audit(list(findings), [])
    entries: list[Entry] = []
    for part, source in sources:
        report = SourceReport(source.name, part)
        result.sources.append(report)
        try:
            matched = match_files(source)
        except PisamError as error:
            result.findings.append(Finding("error", part, source.name, None, None, str(error)))
            continue
        facts = facts_of(source, matched.pairs)
        found = chain(
            _of_folders(source, matched),
            _of_files(matched.pairs, facts),
            _soft(matched.pairs, facts),
            _few_shades(matched.pairs, facts),
            _blank(matched.pairs, facts),
        )
        result.findings += [
            Finding(level, part, source.name, image, mask, text) for level, image, mask, text in found
        ]
        report.pairs = len(matched.pairs)
        report.contents = content_hash("".join(fact.content + fact.truth for fact in facts).encode())
        for pair, fact in zip(matched.pairs, facts, strict=True):
            if not fact.problem:
                report.long_sides.append(max(fact.width, fact.height))
                report.shares.append(fact.share)
                entries.append(Entry(part, source.name, pair.image, fact.content, fact.look))
    for entry, first, how in find_duplicates(entries):
        leak = entry.training != first.training
        where = "which is trained on; take one of them out" if leak else "on the same side of the split"
        text = f"{entry.image}: {how} {first.image} of {first.source}, {where}"
        level: Level = "suspect" if leak else "note"
        result.findings.append(Finding(level, entry.part, entry.source, entry.image, None, text))
    return result


# Level, image, mask and problem of a finding.
Found = tuple[Level, Path | None, Path | None, str]


def _of_folders(source: Source, matched: Matched) -> Iterator[Found]:
    for image, text in matched.gaps:
        yield "error", image, None, text
    if matched.unused:
        first = matched.unused[0]
        yield ("note", None, first, f"{first}: mask without an image; the folder has {len(matched.unused)}")
    for text in matched.left_out:
        yield "note", None, None, text
    expected = published_pairs(source)
    if expected is not None and source.limit is None and len(matched.pairs) != expected:
        text = f"{len(matched.pairs)} pairs in {source.images}, but its distribution holds {expected}"
        yield "note", None, None, text


def _of_files(pairs: Sequence[Pair], facts: Sequence[PairFacts]) -> Iterator[Found]:
    for pair, fact in zip(pairs, facts, strict=True):
        if fact.problem:
            yield "error", pair.image, pair.mask, fact.problem
            continue
        if fact.share == 1:
            text = f"{pair.mask}: the mask covers the whole image; expected some background; mend it"
            yield "suspect", pair.image, pair.mask, text
        if not fact.look:
            text = f"{pair.image}: the image has one shade; expected a picture; replace it"
            yield "suspect", pair.image, pair.mask, text


def _soft(pairs: Sequence[Pair], facts: Sequence[PairFacts]) -> Iterator[Found]:
    """One note for all soft masks of a source, at the softest of them."""
    soft = [(fact.soft, pair) for pair, fact in zip(pairs, facts, strict=True) if fact.soft > MUCH_SOFT]
    if soft:
        most, pair = max(soft, key=lambda item: item[0])
        text = (
            f"{pair.mask}: {most:.0%} of the object is neither black nor white, more than "
            f"{MUCH_SOFT:.0%} in {len(soft)} of {len(pairs)} masks; grey is object above 127"
        )
        yield "note", pair.image, pair.mask, text


def _few_shades(pairs: Sequence[Pair], facts: Sequence[PairFacts]) -> Iterator[Found]:
    """One note for all masks of a source with a few greys alone: trimaps, or numbers of objects.

    And one for those with a few colours: classes or objects, of which no value in the row could choose one.
    """
    few = [(pair, fact) for pair, fact in zip(pairs, facts, strict=True) if fact.shades]
    for coloured in (False, True):
        found = [(pair, fact.shades) for pair, fact in few if fact.coloured == coloured]
        if not found:
            continue
        pair, shades = found[0]
        levels, masks = ", ".join(map(str, shades)), f"({len(found)} of {len(pairs)} masks)"
        text = (
            f"the largest channel of its colours is {levels} alone between black and white, so they may be "
            f"classes or objects {masks}, yet object is what is above 127; save it in black and white, or "
            "objects as ids, if they are"
            if coloured
            else f"of all greys between black and white it has {levels} alone, so it may be a trimap or "
            f"number objects {masks}; say ignore: {shades[0]} or ids: true in the row if it does"
        )
        yield "note", pair.image, pair.mask, f"{pair.mask}: {text}"


def _blank(pairs: Sequence[Pair], facts: Sequence[PairFacts]) -> Iterator[Found]:
    """One note for all annotations without a pixel: of an object each, they would vanish silently."""
    found = [(pair, fact.blank) for pair, fact in zip(pairs, facts, strict=True) if fact.blank]
    if found:
        pair, _ = found[0]
        text = (
            f"{pair.mask}: {sum(count for _, count in found)} annotations without a pixel in the frame left "
            f"out, the first of {pair.image.name}"
        )
        yield "note", pair.image, pair.mask, text
