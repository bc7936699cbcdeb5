"""Show the results of `pisam benchmark`, yours and others', as a page and a table to open in a browser.

    pisam leaderboard FILE... out=DIR

FILE: an interaction file, or a folder of them. Files of unlike protocols or images get tables of their own.
out=DIR: new, or of an earlier leaderboard, which is replaced: index.html, leaderboard.csv, per_image.csv.

group: Measure
"""

from __future__ import annotations

from pathlib import Path

from pisam.commands.shared.command import Arguments
from pisam.core.errors import PisamError
from pisam.core.terminal import one_line
from pisam.evaluation.benchmark.leaderboard import read_files, tables_of
from pisam.report.leaderboard import write_leaderboard


def run(arguments: Arguments) -> int:
    """Compare the named files."""
    return leaderboard([Path(word) for word in arguments.words], Path(arguments.own["out"]))


def leaderboard(paths: list[Path], out: Path) -> int:
    """Write a leaderboard of files and folders; name what is not in it. Returns 1 if there is any, else 0."""
    files, left_out = read_files(paths)
    if not files:
        raise PisamError("leaderboard: no complete results: " + "; ".join(each.reason for each in left_out))
    tables = tables_of(files)
    write_leaderboard(tables, left_out, out)
    for each in left_out:
        print(one_line(f"left out: {each.file}: {each.reason}"))
    if len(tables) > 1:
        print(f"{len(tables)} tables, which must not be compared: unlike protocols or images")
    print(out / "index.html")
    return int(bool(left_out))
