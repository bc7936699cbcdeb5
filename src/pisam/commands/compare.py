"""Test whether two runs differ by more than chance on the images that both scored.

    pisam compare A B

A and B are folders of results: RUN_DIR/evaluate, or one model's folder below it.

group: Measure
"""

from __future__ import annotations

from pathlib import Path

from pisam.commands.shared.command import Arguments
from pisam.evaluation.compare import compare_runs, differences_table, version_differences


def run(arguments: Arguments) -> None:
    """Compare the two folders."""
    print(compare_results(*map(Path, arguments.words)))


def compare_results(a: Path, b: Path) -> str:
    """The differences between the scores of two folders of results, a table with intervals and tests.

    Raises:
        PisamError: results that are missing, partial, of other images or of unlike protocols.
    """
    lines = [differences_table(compare_runs(a, b))]
    if versions := version_differences(a, b):
        lines.append(f"scored with different versions: {versions}")
    return "\n".join(lines)
