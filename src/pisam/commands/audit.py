"""Look at every file of an experiment's data before training does; exit code 1 if any must be mended.

    pisam audit [EXPERIMENT] [key=value ...]

group: Data
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pisam.commands.shared.begin import generate_data
from pisam.commands.shared.command import Arguments
from pisam.config.schema import Config
from pisam.core.errors import PisamError
from pisam.core.files import refuse_folders
from pisam.core.terminal import escaped, one_line
from pisam.data.audit.audit import Audit, Finding, Level, SourceReport, audit
from pisam.data.audit.duplicates import Part
from pisam.data.sources.rows import Source, longest_parts, refuse_twice, resolve_sources
from pisam.evaluation.rows import Row, TableLine, text_table, write_csv

COLUMNS = ("source", "image", "mask", "problem")
SHOWN = 20


def run(arguments: Arguments) -> int:
    """Audit the data of both stages."""
    return audit_data(arguments.config())


def audit_data(config: Config) -> int:
    """Audit the data of both stages, print a table and write `RUN_DIR/audit.csv`, a row per finding.

    Returns:
        1 if something must be mended: a row that is no note.

    Raises:
        PisamError: the configuration names no source at all.
    """
    generate_data(config)
    sources, unresolved = _sources(config)
    if not sources and not unresolved:
        raise PisamError("data: no source to audit; name some in data.train, data.val or data.test")
    file = Path(config.run_dir) / "audit.csv"
    refuse_folders(file)
    result = audit(sources, unresolved)
    write_findings(result, file)
    print(_report(result, file), flush=True)
    return 1 if result.of("error", "suspect") else 0


def write_findings(result: Audit, file: Path) -> None:
    """A row per finding, worst first; the problem of a mere note begins with `note: `."""
    rows: list[Row] = []
    for finding in result.of("error") + result.of("suspect") + result.of("note"):
        cells = (finding.source, str(finding.image or ""), str(finding.mask or ""), _text(finding))
        rows.append(dict(zip(COLUMNS, map(escaped, cells), strict=True)))
    write_csv(rows, file, COLUMNS)


def _sources(config: Config) -> tuple[list[tuple[Part, Source]], list[Finding]]:
    """The sources of all parts, each of a part once, and what no run could use."""
    lists: list[tuple[Part, list[Any]]] = [
        ("train", config.data.train),
        *(("train", stage.train or []) for stage in (config.stage1, config.stage2)),
        ("val", config.data.val),
        ("test", config.data.test),
    ]
    found: dict[Part, list[Source]] = {}
    wrong: list[Finding] = []
    for part, rows in lists:
        own: list[Source] = []
        for row in rows:
            name = row if isinstance(row, str) else str(row.get("name"))
            try:
                more = resolve_sources([row], config.data.root, training=part == "train")
                refuse_twice([*own, *more])
                own += more
            except PisamError as error:
                wrong.append(Finding("error", part, name, None, None, str(error)))
        found.setdefault(part, []).extend(own)
    whole = [(part, source) for part, sources in found.items() for source in longest_parts(sources)]
    return whole, list(dict.fromkeys(wrong))  # once, where both stages name it


def _report(result: Audit, file: Path) -> str:
    header: TableLine = ["part", "source", "pairs", "long side", "object", "errors", "suspect", "notes"]
    lines = [header, *(_line(result, report) for report in result.sources)]
    return "\n".join([text_table(lines), *_lists(result), f"findings: {len(result.findings)}, in {file}"])


def _line(result: Audit, report: SourceReport) -> TableLine:
    sides, share = report.long_sides, report.median_share
    return [
        report.part,
        report.name,
        report.pairs,
        f"{min(sides)}-{max(sides)}" if sides else None,
        None if share is None else f"{share:.0%}",
        *(len(result.of(level, source=(report.part, report.name))) for level in ("error", "suspect", "note")),
    ]


def _lists(result: Audit) -> Iterator[str]:
    titles: dict[Level, str] = {
        "error": "to be mended before training",
        "suspect": "to be mended",
        "note": "worth knowing",
    }
    for level, title in titles.items():
        found = result.of(level)
        if found:
            yield f"\n{title}:"
            yield from (
                f"  {finding.part} {escaped(finding.source)}: {one_line(finding.problem)}"
                for finding in found[:SHOWN]
            )
            if len(found) > SHOWN:
                yield f"  and {len(found) - SHOWN} more"
    yield ""


def _text(finding: Finding) -> str:
    text = " ".join(finding.problem.split())
    return f"note: {text}" if finding.level == "note" else text
