"""Is a card right, and how fast is it? `make gpu` answers.

    python -m gpu.check [--cpu] [--minutes 12] [--out DIR] [--blocks parity waits runs table]

At most so many minutes on one card, without data or weights. Writes DIR/gpu.json and DIR/gpu.md; exit code 1
where a check fails. `--cpu` tries the script itself, small. Other processes on the card disturb the table
alone: who is short of time runs the other blocks side by side, each with a DIR of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from gpu.blocks import parity, runs, table, waits
from pisam.core.provenance import git_revision

Block = Callable[["Report"], None]
# With the seconds that must be left for each to begin.
BLOCKS: list[tuple[Block, float]] = [(parity, 60), (waits, 60), (runs, 200), (table, 60)]


class Report:
    """What was found so far, and the time that is left.

    Args:
        device: cpu or cuda.
        minutes: for everything.
    """

    def __init__(self, device: str, minutes: float) -> None:
        self.device = device
        self.small = device == "cpu"
        self.card = torch.cuda.get_device_name() if device == "cuda" else "CPU"
        self._end = time.monotonic() + 60 * minutes
        self.checks: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.skipped: list[str] = []

    @property
    def seconds_left(self) -> float:
        return self._end - time.monotonic()

    @property
    def failed(self) -> list[str]:
        return [check["name"] for check in self.checks if not check["ok"]]

    def check(self, name: str, value: float, limit: float) -> None:
        """Note a value that must not exceed a limit; NaN does."""
        self.checks.append({"name": name, "value": value, "limit": limit, "ok": value <= limit})
        print(f"{'ok  ' if value <= limit else 'FAIL'} {name}: {value:.2e}, at most {limit:.0e}", flush=True)

    def row(self, **values: Any) -> None:
        """Note a measurement."""
        self.rows.append(values)
        print(" ".join(f"{key}={value}" for key, value in values.items()), flush=True)

    def skip(self, name: str) -> None:
        """Note what the time did not suffice for."""
        self.skipped.append(name)
        print(f"no time left for {name}", flush=True)

    def save(self, folder: Path) -> None:
        """As JSON and as Markdown."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"card": self.card, "torch": torch.__version__, "cuda": torch.version.cuda, **git_revision()}
        found = {**facts, "checks": self.checks, "measured": self.rows, "skipped": self.skipped}
        (folder / "gpu.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        lines = [f"# {self.card}", "", ", ".join(f"{key} {value}" for key, value in facts.items()), ""]
        lines += ["| check | value | at most | |", "|---|---|---|---|"]
        for one in self.checks:
            verdict = "ok" if one["ok"] else "**failed**"
            lines.append(f"| {one['name']} | {one['value']:.2e} | {one['limit']:.0e} | {verdict} |")
        if self.rows:
            heads = list(dict.fromkeys(key for row in self.rows for key in row))
            lines += ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
            lines += [f"| {' | '.join(str(row.get(head, '')) for head in heads)} |" for row in self.rows]
        if self.skipped:
            lines += ["", f"No time was left for: {', '.join(self.skipped)}."]
        (folder / "gpu.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every block that the time suffices for; 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    names = [block.__name__ for block, _ in BLOCKS]
    parser.add_argument("--blocks", nargs="+", choices=names, default=names)
    options = parser.parse_args(arguments)
    if not options.cpu and not torch.cuda.is_available():
        print("error: no CUDA device is there; --cpu tries the script itself", file=sys.stderr)
        return 2
    report = Report("cpu" if options.cpu else "cuda", options.minutes)
    for block, needed in BLOCKS:
        if block.__name__ not in options.blocks:
            continue
        if report.seconds_left < (0 if report.small else needed):
            report.skip(block.__name__)
            continue
        try:
            block(report)
        except Exception:
            traceback.print_exc()
            report.check(f"{block.__name__} ends without an error", float("nan"), 0)
        report.save(options.out)  # whatever comes after
    print(
        f"{'failed: ' + ', '.join(report.failed) if report.failed else 'all checks hold'}; see {options.out}"
    )
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
