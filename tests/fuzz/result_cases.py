"""Files of results with hostile changes, given to the commands that read them.

The results that are changed lie in the folder that PISAM_FUZZ_INPUTS names, see `write_inputs`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import yaml

from fuzz.coco_cases import changed
from helpers.interactions import interaction
from helpers.small_runs import small_config, write_sets
from helpers.small_sweeps import write_sweep
from pisam import cli
from pisam.commands.evaluate import EvaluateOptions, evaluate
from pisam.commands.interact import interact
from pisam.commands.train import train
from pisam.evaluation.benchmark.interaction_file import write_interaction

INPUTS = "PISAM_FUZZ_INPUTS"
SHORT = ("stage1.max_steps=1", "stage2.max_steps=3", "stage2.lr=0.1")
SHORT += ("interact.rounds=3", "interact.clicks=2", "interact.images=3")
RUN = ["FOLDER/small.yaml", "run_dir=FOLDER/run", *SHORT]
COMMANDS = {
    "report": ["report", *RUN],
    "compare": ["compare", "FOLDER/run/evaluate", "FOLDER/other/evaluate"],
    "compare clicks": ["compare", "FOLDER/run/interact", "FOLDER/other/interact"],
    "leaderboard": ["leaderboard", "FOLDER/records", "out=FOLDER/board"],
    "interact": ["interact", *RUN, "clicks=FOLDER/run/interact/clicks.json"],
    "sweep": ["sweep", "FOLDER/sweep.yaml", "local=true"],
    "train": ["train", *RUN, "stage=1"],
    "benchmark": ["benchmark", "FOLDER/small.yaml", "like=FOLDER/records/mine.json", "out=FOLDER/out"],
}
READS = [
    ("report", "run/interact/summary.json"),
    ("report", "run/interact/clicks.json"),
    ("report", "run/interact/per_image.csv"),
    ("report", "run/evaluate/summary.json"),
    ("compare", "run/evaluate/summary.json"),
    ("compare", "run/evaluate/per_image.csv"),
    ("compare clicks", "run/interact/summary.json"),
    ("compare clicks", "run/interact/per_image.csv"),
    ("leaderboard", "records/mine.json"),
    ("interact", "run/interact/clicks.json"),
    ("sweep", "sweep.yaml"),
    ("train", "run/stage1/summary.json"),
    ("train", "run/stage1/config.yaml"),
    ("benchmark", "records/mine.json"),
]
"""A command, and a file that it reads."""
# What would begin where a changed file is accepted.
LONG = {
    "pisam.commands.report.write_report": None,
    "pisam.commands.interact.interacting_models": None,
    "pisam.commands.sweep.run_locally": 0,
    "pisam.commands.train._train": None,
    "pisam.commands.benchmark.benchmark": 0,
}


class Begun(Exception):
    """A changed file was accepted."""


def write_inputs(folder: Path) -> Path:
    """A small run with all its results, a sweep and two records of clicks."""
    root = write_sets(folder / "sets")
    config = small_config(folder, root, *SHORT)
    train(config, 1)
    train(config, 2)
    interact(config)
    evaluate(config, EvaluateOptions())
    for stage in ("stage1", "stage2"):
        shutil.rmtree(folder / "run" / stage / "checkpoints")
    shutil.copytree(folder / "run", folder / "other")
    for name in ("mine", "yours"):
        write_interaction(interaction(name), folder / "records" / f"{name}.json")
    sweep = write_sweep(folder, folder / "small.yaml")
    sweep.write_text(json.dumps(yaml.safe_load(sweep.read_text())))  # YAML, too
    return folder


def run_case(seed: int, folder: Path) -> None:
    """Change a file, and have a command read it: exit 0, 1 or 2, with one line on stderr."""
    rng = random.Random(seed)
    inputs = Path(os.environ[INPUTS])
    for name in ("run", "other", "records"):
        shutil.copytree(inputs / name, folder / name)
    for name in ("small.yaml", "sweep.yaml"):
        shutil.copy(inputs / name, folder)
    command, name = READS[seed % len(READS)]
    text = (folder / name).read_text()
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        text = changed(text, rng)
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    called(COMMANDS[command], folder)


def called(arguments: list[str], folder: Path) -> int:
    """Run a command up to where a long one would begin; returns its exit code, 0 where it got so far."""
    error = io.StringIO()
    code = 0
    out, begun = contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Begun)
    with out, contextlib.redirect_stderr(error), _short(), begun:
        code = cli.main([argument.replace("FOLDER", str(folder)) for argument in arguments])
    lines = [line for line in error.getvalue().splitlines() if line.startswith("error: ")]
    shown = error.getvalue()[-600:]
    assert code in (0, 1, 2), f"{arguments}: exit {code}, {shown}"
    assert "Traceback" not in shown and all(len(line) < 2000 for line in lines), f"{arguments}: {shown}"
    if code == 2:
        assert len(lines) == 1 and error.getvalue().splitlines()[-1] == lines[0], f"{arguments}: {shown}"
    return code


@contextlib.contextmanager
def _short() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name, given in LONG.items():
            options = {"side_effect": Begun} if given is None else {"return_value": given}
            stack.enter_context(mock.patch(name, **options))
        yield
