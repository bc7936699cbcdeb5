"""Sweep files for the tests, over the small experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


def write_sweep(folder: Path, experiment: Path, *, overrides: Sequence[str] = (), **changes: Any) -> Path:
    """A grid of two learning rates for stage 1, with `changes` to the file's keys."""
    content = {
        "program": "pisam.cli",
        "project": "small-tests",
        "method": "grid",
        "metric": {"name": "val/iou", "goal": "maximize"},
        "parameters": {"stage1.lr": {"values": [0.01, 0.001]}},
        "command": [
            *("${env}", "${interpreter}", "-m", "${program}", "train", str(experiment), "stage=1"),
            *("sweep=small", *overrides, "${args_no_hyphens}"),
        ],
    }
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump({**content, **changes}))
    return file
